use std::fs::File;

use polars_core::prelude::{IntoColumn, IntoSeries, ListChunked, NamedFrom};

use super::*;

fn frame(n: usize) -> (DataFrame, TableInfo) {
    let vectors: ListChunked = (0..n).map(|i| Some(Series::new("".into(), vec![i as f32, 0.5, -1.0]))).collect();
    let columns = vec![
        Column::new("index".into(), (0..n as i64).collect::<Vec<_>>()),
        Column::new("shape".into(), (0..n).map(|i| format!("shape {}", i % 4)).collect::<Vec<_>>()),
        Column::new("orientation".into(), (0..n).map(|i| (i > 0).then_some(i as f64)).collect::<Vec<_>>()),
        vectors.into_series().with_name("z_img".into()).into(),
    ];
    let info = ["index", "shape", "orientation", "z_img"]
        .map(|name| (name.to_string(), ColumnInfo::new("value", "1", format!("the {name}"))));
    (DataFrame::new_infer_height(columns).unwrap(), TableInfo::new("samples", info))
}

#[test]
fn tables_come_back_with_types_nulls_lists_and_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.parquet");
    let (frame, info) = frame(5);
    let written = write_table(&path, &frame, &info).unwrap();
    assert!(read_table(&path).unwrap().equals_missing(&frame));
    assert_eq!(read_table_info(&path).unwrap(), info);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((written.bytes, written.rows), (bytes.len() as u64, 5));
    assert_eq!(written.blake3, blake3::hash(&bytes).to_hex().as_str());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn whole_numbers_that_can_be_missing_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let seeds = [Some(9_007_199_254_740_993i64), None, Some(9_007_199_254_740_992)];
    let columns = vec![
        Column::new("seed".into(), seeds),
        Column::new("label".into(), [Some(3u32), None, None]),
        Column::new("n".into(), [1i64, 2, 3]),
        Column::new("x".into(), [Some(0.5), None, None]),
    ];
    let frame = DataFrame::new_infer_height(columns).unwrap();
    let about = |name: &str| ColumnInfo::new("value", "1", name);
    let info = |name: &str| (name.to_string(), if name == "n" { about(name) } else { about(name).or_null() });
    let info = TableInfo::new("t", ["seed", "label", "n", "x"].map(info));
    write_table(&path, &frame, &info).unwrap();
    assert!(read_table(&path).unwrap().equals_missing(&frame));
    assert_eq!(read_table_info(&path).unwrap(), info);
    let told: serde_json::Value = serde_json::from_str(&for_pandas(frame.schema(), &info).unwrap()).unwrap();
    let types: Vec<_> = told["columns"].as_array().unwrap().iter().map(|c| (&c["name"], &c["numpy_type"])).collect();
    assert_eq!(types, [(&json!("seed"), &json!("Int64")), (&json!("label"), &json!("UInt32"))]);
    // Where readers look for it: as text within the schema, beside the descriptions of its fields.
    let mut reader = ParquetReader::new(File::open(&path).unwrap());
    let metadata = reader.get_metadata().unwrap().key_value_metadata().clone().unwrap();
    let schema = metadata.iter().find(|pair| pair.key == "ARROW:schema").and_then(|pair| pair.value.clone());
    let schema = BASE64_STANDARD.decode(schema.unwrap()).unwrap();
    let has = |text: &str| schema.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("pandas") && has(&told.to_string()) && has("description"));
}

#[test]
fn numbers_that_are_not_finite_are_refused_wherever_they_stand_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.parquet");
    let info = TableInfo::new("t", [("x".to_string(), ColumnInfo::new("value", "1", "a number"))]);
    let lists = |rows: [[f32; 2]; 3]| -> Column {
        let lists: ListChunked = rows.into_iter().map(|row| Some(Series::new("".into(), row))).collect();
        lists.into_series().with_name("x".into()).into_column()
    };
    let plain = |value: f64| Series::new("x".into(), [Some(1.0), None, Some(value)]).into_column();
    let single = |value: f32| Series::new("x".into(), [0.5, f32::MAX, value]).into_column();
    let list = |value: f32| lists([[1.0, 2.0], [f32::MIN, 0.0], [0.0, value]]);
    let write = |column: Column| write_table(&path, &DataFrame::new_infer_height(vec![column]).unwrap(), &info);
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for column in [plain(f64::from(wrong)), single(wrong), list(wrong)] {
            let error = write(column).unwrap_err().to_string();
            assert!(error.contains("`x`") && error.contains(&format!("{wrong} in row 2")), "{error}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
    // In a later portion rows count on.
    let mut writer = TableWriter::create(&path, DataFrame::new_infer_height(vec![plain(1.0)]).unwrap().schema(), &info);
    let writer = writer.as_mut().unwrap();
    writer.write(&DataFrame::new_infer_height(vec![plain(f64::MAX)]).unwrap()).unwrap();
    let error = writer.write(&DataFrame::new_infer_height(vec![plain(f64::NAN)]).unwrap()).unwrap_err();
    assert!(error.to_string().contains("NaN in row 5"), "{error}");
    for column in [plain(-0.0), single(f32::MIN_POSITIVE), list(-1.0)] {
        assert!(write(column).is_ok());
    }
}

/// What writes Parquet elsewhere would not be held to that.
#[test]
fn every_table_is_written_here() {
    let here = ["store/table.rs", "store/table/tests.rs"];
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !here.iter().any(|end| path.ends_with(end)) {
                let text = std::fs::read_to_string(&path).unwrap();
                let writers = ["ParquetWriter", "BatchedWriter", "IpcWriter", "CsvWriter", "JsonWriter"];
                assert!(!writers.iter().any(|writer| text.contains(writer)), "{} writes tables itself", path.display());
                read += 1;
            }
        }
    }
    assert!(read > 100, "the sources were read");
}

#[test]
fn an_empty_table_keeps_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.parquet");
    let (frame, info) = frame(0);
    write_table(&path, &frame, &info).unwrap();
    let back = read_table(&path).unwrap();
    assert_eq!((back.height(), back.schema()), (0, frame.schema()));
}

#[test]
fn large_tables_are_cut_into_row_groups_however_the_frame_is_chunked() {
    let dir = tempfile::tempdir().unwrap();
    let values = |range: std::ops::Range<i64>| {
        DataFrame::new_infer_height(vec![Column::new("index".into(), range.collect::<Vec<_>>())]).unwrap()
    };
    let n = ROW_GROUP_ROWS as i64 + 10;
    let whole = values(0..n);
    let stacked = values(0..7).vstack(&values(7..n)).unwrap();
    let info = TableInfo::new("t", [("index".to_string(), ColumnInfo::new("index", "", "row"))]);
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    assert_eq!(write_table(&a, &whole, &info).unwrap(), write_table(&b, &stacked, &info).unwrap());
    let mut reader = ParquetReader::new(File::open(&a).unwrap());
    assert_eq!(reader.get_metadata().unwrap().row_groups.len(), 2);
}

#[test]
fn row_groups_do_not_depend_on_how_the_rows_came() {
    let dir = tempfile::tempdir().unwrap();
    let rows = ROW_GROUP_ROWS + 50;
    let (mut whole, mut info) = frame(rows);
    // Lists are encoded after the buffers that they lie in; run tables have none.
    whole.drop_in_place("z_img").unwrap();
    info.columns.remove("z_img");
    let write = |name: &str, portions: &[usize], cut: bool| {
        let path = dir.path().join(name);
        let mut writer = TableWriter::create(&path, whole.schema(), &info).unwrap();
        let mut start = 0;
        for portion in portions {
            writer.write(&whole.slice(start, *portion)).unwrap();
            start += *portion as i64;
            if cut {
                writer.cut().unwrap();
            }
        }
        assert_eq!(start as usize, rows);
        writer.finish().unwrap();
        let file = File::open(&path).unwrap();
        let groups = ParquetReader::new(file).get_metadata().unwrap().row_groups.len();
        (std::fs::read(path).unwrap(), groups)
    };
    let one = write("a.parquet", &[rows], false);
    assert_eq!(one.1, 2);
    assert!(write("b.parquet", &[100, rows - 120, 0, 20], false) == one);
    assert_eq!(write("c.parquet", &[100, rows - 100], true).1, 2);
    assert_eq!(write("d.parquet", &[100, 100, rows - 200], true).1, 3);
}

#[test]
fn single_columns_are_read_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.parquet");
    let (frame, info) = frame(3);
    let written = write_table(&path, &frame, &info).unwrap();
    let read = read_columns(&path, &["shape", "absent"].map(String::from)).unwrap();
    assert_eq!(read.get_column_names(), ["shape"]);
    assert_eq!(read.height(), 3);
    assert_eq!(hash_file(&path).unwrap(), written.blake3);
}

#[test]
fn undescribed_columns_and_strangers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.parquet");
    let (frame, mut info) = frame(2);
    let shape = info.columns.remove("shape").unwrap();
    let error = write_table(&path, &frame, &info).unwrap_err().to_string();
    assert!(error.contains("column `shape` is not described"), "{error}");
    info.columns.insert("shape".into(), shape.clone());
    info.columns.insert("colour".into(), shape);
    let error = write_table(&path, &frame, &info).unwrap_err().to_string();
    assert!(error.contains("no column `colour`"), "{error}");
    std::fs::write(&path, b"PAR1 this is no table PAR1").unwrap();
    assert!(matches!(read_table(&path), Err(StoreError::Table { .. })));
    assert!(matches!(read_table_info(&path), Err(StoreError::Table { .. })));
}

#[test]
fn a_table_that_unpacks_to_more_than_it_is_worth_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.parquet");
    let long = "0".repeat(1 << 20);
    let texts: Vec<String> = (0..200).map(|n| format!("{n}{long}")).collect();
    let frame = DataFrame::new_infer_height(vec![Column::new("text".into(), texts)]).unwrap();
    let info = TableInfo::new("t", [("text".to_string(), ColumnInfo::new("value", "", "zeros"))]);
    let written = write_table(&path, &frame, &info).unwrap();
    assert!(written.bytes < 1 << 18, "{} bytes", written.bytes);
    let error = read_table(&path).unwrap_err().to_string();
    assert!(error.contains("unpack"), "{error}");
    assert_eq!(read_columns(&path, &[]).unwrap().width(), 0, "what is not read takes nothing");
    assert_eq!(read_table_info(&path).unwrap(), info);
}

#[test]
fn a_footer_that_points_elsewhere_is_damage_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.parquet");
    let (frame, info) = frame(50);
    write_table(&path, &frame, &info).unwrap();
    let sound = std::fs::read(&path).unwrap();
    let length = u32::from_le_bytes(sound[sound.len() - 8..][..4].try_into().unwrap()) as usize;
    let (footer, mut refused) = (sound.len() - 8 - length, 0);
    for at in footer..sound.len() {
        let mut changed = sound.clone();
        changed[at] = !changed[at];
        std::fs::write(&path, changed).unwrap();
        refused += u32::from(matches!(read_table(&path), Err(StoreError::Table { .. })));
    }
    assert!(refused > 50, "{refused} of {length}");
}
