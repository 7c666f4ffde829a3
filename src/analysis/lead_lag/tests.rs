use super::*;

const NEVER: Onset = Onset::Never { until: 600.0 };

fn gap(from: f64, to: f64) -> Onset {
    Onset::Broke { from, to, at: Some((from + to) / 2.0) }
}

#[test]
fn one_leads_where_what_is_known_does_not_overlap() {
    let p = Onset::point;
    let cases = [
        (p(1.0), p(2.0), Order::First),
        (p(2.0), p(2.0), Order::Tie),
        (p(1.0), NEVER, Order::First),
        (NEVER, NEVER, Order::Neither),
        (Onset::Unknown, p(1.0), Order::Unknown),
        (Onset::Unknown, NEVER, Order::Unknown),
        // Gaps that touch are told apart; a point within a gap is not, and at its end it is.
        (gap(1.0, 2.0), gap(2.0, 3.0), Order::First),
        (gap(1.0, 2.0), gap(1.0, 2.0), Order::Tie),
        (gap(1.0, 2.0), p(1.2), Order::Tie),
        (gap(1.0, 2.0), p(2.0), Order::First),
        (gap(1.0, 3.0), gap(2.0, 3.0), Order::Tie),
        // Broken before the walk began, both: nobody knows which was first.
        (Onset::from_the_start(1.0), Onset::from_the_start(1.0), Order::Tie),
        (Onset::from_the_start(1.0), p(1.0), Order::First),
        // It held up to 600, and nothing is known beyond, where the other broke.
        (NEVER, p(700.0), Order::Unknown),
        (NEVER, gap(500.0, 700.0), Order::Unknown),
        (NEVER, p(600.0), Order::Second),
    ];
    let mirrored = |order| match order {
        Order::First => Order::Second,
        Order::Second => Order::First,
        other => other,
    };
    for (first, second, order) in cases {
        assert_eq!(Order::of(first, second), order, "{first:?} {second:?}");
        assert_eq!(Order::of(second, first), mirrored(order), "{second:?} {first:?}");
    }
}

#[test]
fn walks_counted_by_hand() {
    let p = Onset::point;
    let walks = [
        (p(1.0), p(4.0)),
        (p(5.0), p(3.0)),
        (gap(1.0, 2.0), p(1.1)),
        (p(1.0), NEVER),
        (NEVER, NEVER),
        (Onset::from_the_start(0.0), p(9.0)),
        (Onset::Unknown, Onset::Unknown),
    ];
    let found = LeadLag::new(walks, true);
    let counts = [found.walks, found.first_leads, found.second_leads, found.ties, found.neither, found.unknown];
    assert_eq!(counts, [7, 3, 1, 1, 1, 1]);
    assert_eq!((found.both, found.leads_from_the_start), (4, [1, 0]));
    // Leads 3, -2, 0 for the tie, 9.
    assert_eq!((found.median_lead, found.median_interval), (Some(1.5), None));
    assert_eq!(found.share(), Some(0.75));
    assert_eq!(found.share_interval, wilson(3, 4).ok());
    // Depends on nothing else: the other way round everything is turned.
    let turned = LeadLag::new(walks.map(|(a, b)| (b, a)), false);
    assert_eq!((turned.first_leads, turned.second_leads, turned.median_lead), (1, 3, Some(-1.5)));
    assert_eq!((turned.share_interval, turned.leads_from_the_start), (None, [0, 1]));
}

#[test]
fn the_median_has_an_interval_from_six_walks_on_and_nothing_is_said_of_none() {
    let walks = (1..=9).map(|n| (Onset::point(0.0), Onset::point(f64::from(n * n))));
    let found = LeadLag::new(walks, true);
    // Conover: of 9 values the second and the eighth.
    assert_eq!((found.median_lead, found.median_interval), (Some(25.0), Some((4.0, 64.0))));
    let none = LeadLag::new([(NEVER, NEVER), (Onset::Unknown, NEVER)], true);
    assert!(!none.is_of_note());
    assert_eq!((none.share(), none.share_interval, none.median_lead), (None, None, None));
}
