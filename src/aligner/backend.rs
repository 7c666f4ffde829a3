//! Where tensors live: backends, adapters and the class of results they make.

use burn::tensor::{Device, DeviceKind, Tensor, TensorData};

use super::info_nce::{LossSettings, info_nce};
use super::kernel::fused;
use super::kernel::normalise::bias_normalise;
use super::kernel::tanh::bias_tanh;
use super::parameters::host;
use super::program::Executor;
use crate::machine::caught;
use crate::machine::threads::{self, TooFewThreads};
use crate::spec::config::TrainConfig;

/// Version of everything that decides a number or which numbers there are: world, initialisation, program, metrics.
/// Results of different versions are never mixed. Changelog: 1 = first release; 2 = the whole panel
/// (the numbers that were there are as before). Since then a metric that rounding takes past its range is its end,
/// also where it is read from a record: so results stay comparable, and the version what it was.
pub const NUMERICS_VERSION: u32 = 2;

/// Threads of a graphics device beside those of its driver.
const DEVICE_THREADS: usize = 1;

/// A backend as the user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// A real GPU when there is one, else native while it agrees with flex, else flex.
    Auto,
    /// WGPU on the best adapter, a software one included.
    Wgpu,
    /// Burn's maintained CPU backend.
    Flex,
    /// Burn's older CPU backend, kept as an independent check.
    Ndarray,
    /// The whole training step as fused loops on the CPU.
    Native,
}

/// Where a backend's packs train, as far as memory and speed are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the host's cores, one workspace per worker.
    Native,
    /// On the host's cores as tensors, every intermediate result with a cell axis.
    Cpu,
    /// On a graphics adapter, as tensors.
    Adapter,
}

/// A backend that was chosen.
#[derive(Clone, Debug)]
pub struct Backend {
    pub name: &'static str,
    pub executor: Executor,
    /// The adapter, for WGPU.
    pub adapter: Option<Adapter>,
    /// Why this one, in one sentence.
    pub why: String,
    /// The class of its results.
    pub class: String,
}

/// A graphics adapter as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Adapter {
    pub name: String,
    /// `discrete_gpu`, `integrated_gpu`, `virtual_gpu`, `cpu` or `other`.
    pub kind: &'static str,
    pub driver: String,
    /// Graphics interface, for instance `vulkan`.
    pub api: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error(
        "backend wgpu: no graphics adapter was found (looked for Vulkan, Metal and DirectX 12 adapters; {found}). \
         Install a GPU driver with Vulkan support, or for a software adapter Debian's mesa-vulkan-drivers and \
         libvulkan1; or use --backend native"
    )]
    NoAdapter { found: String },
    #[error(
        "no graphics adapter was looked for: a driver may take {} MiB, and {left} MiB are left under the limit of {of}",
        DRIVER_MAPPED >> 20
    )]
    NoRoom { left: u64, of: String },
    #[error(transparent)]
    Instructions(#[from] super::native::UnknownInstructions),
    #[error(transparent)]
    Threads(#[from] TooFewThreads),
    #[error(
        "the graphics adapter {adapter} cannot be used ({reason}); use --backend native, or see the limits of this process"
    )]
    Driver { adapter: String, reason: String },
    #[error("backend {name} is not a single backend; name one of wgpu, flex, ndarray, native")]
    NotABackend { name: String },
}

impl Choice {
    /// Opens the backend.
    pub fn open(self) -> Result<Backend, BackendError> {
        match self {
            Self::Flex => Ok(Backend::cpu("flex", Device::flex(), "as asked".into())),
            Self::Ndarray => Ok(Backend::ndarray()),
            Self::Native => Backend::native("as asked".into()),
            Self::Wgpu => Backend::wgpu(adapters()?),
            Self::Auto => Backend::auto(),
        }
    }

    /// The single backend of that name.
    pub fn named(name: &str) -> Result<Self, BackendError> {
        match name {
            "wgpu" => Ok(Self::Wgpu),
            "flex" => Ok(Self::Flex),
            "ndarray" => Ok(Self::Ndarray),
            "native" => Ok(Self::Native),
            other => Err(BackendError::NotABackend { name: other.to_string() }),
        }
    }
}

impl Backend {
    fn cpu(name: &'static str, device: Device, why: String) -> Self {
        let class = class(name, None, instruction_set(), &fingerprint(&device));
        Self { name, executor: Executor::Tensors(device), adapter: None, why, class }
    }

    fn native(why: String) -> Result<Self, BackendError> {
        let (instructions, _) = super::native::instruction_set()?;
        let class = class("native", None, instructions, &super::native::fingerprint());
        Ok(Self { name: "native", executor: Executor::Native, adapter: None, why, class })
    }

    // Burn deprecates ndarray in favour of flex; it stays as an independent implementation to agree with.
    #[allow(deprecated)]
    fn ndarray() -> Self {
        Self::cpu("ndarray", Device::ndarray(), "as asked".into())
    }

    fn wgpu(found: Vec<Adapter>) -> Result<Self, BackendError> {
        let best = found.iter().min_by_key(|a| preference(a)).cloned();
        let adapter = best.ok_or(BackendError::NoAdapter { found: "none is present".into() })?;
        let device = Device::wgpu(match adapter.kind {
            "discrete_gpu" => DeviceKind::DiscreteGpu(0),
            "integrated_gpu" => DeviceKind::IntegratedGpu(0),
            "virtual_gpu" => DeviceKind::VirtualGpu(0),
            "cpu" => DeviceKind::Cpu,
            _ => DeviceKind::DefaultDevice,
        });
        let why = format!("as asked, on {} ({})", adapter.name, adapter.kind);
        // The first use opens the device, and the library panics where a driver refuses it or a thread cannot be
        // started.
        threads::require(DEVICE_THREADS)?;
        let first = caught(|| fingerprint(&device))
            .map_err(|reason| BackendError::Driver { adapter: adapter.name.clone(), reason })?;
        let class = class("wgpu", Some(&adapter), instruction_set(), &first);
        Ok(Self { name: "wgpu", executor: Executor::Tensors(device), adapter: Some(adapter), why, class })
    }

    fn auto() -> Result<Self, BackendError> {
        let (found, unseen) = match adapters() {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let gpus: Vec<Adapter> = found.iter().filter(|a| a.is_gpu()).cloned().collect();
        if let Ok(mut backend) = Self::wgpu(gpus) {
            let adapter = backend.adapter.as_ref().map(|a| a.name.clone()).unwrap_or_default();
            backend.why = format!("auto found the GPU {adapter}");
            return Ok(backend);
        }
        let seen = match (found.first(), unseen) {
            (Some(a), _) => format!("only the software adapter {}", a.name),
            (None, Some(error)) => format!("no graphics adapter ({error})"),
            (None, None) => "no graphics adapter".to_string(),
        };
        // Before anything runs on vectors that the processor may not have.
        super::native::instruction_set()?;
        match super::agree::native_differs(None) {
            None => Self::native(format!("auto found {seen}, so it uses the CPU")),
            Some(how) => {
                let why = format!("auto found {seen}, and the native program differs from flex here ({how}): a fault");
                Ok(Self::cpu("flex", Device::flex(), why))
            }
        }
    }

    /// True when cells train on the host's own cores.
    pub fn is_cpu(&self) -> bool {
        self.place() != Place::Adapter
    }

    /// The device of its tensors; the native program has none.
    pub fn device(&self) -> Option<&Device> {
        match &self.executor {
            Executor::Tensors(device) => Some(device),
            Executor::Native => None,
        }
    }

    pub fn place(&self) -> Place {
        match (&self.executor, &self.adapter) {
            (Executor::Native, _) => Place::Native,
            (Executor::Tensors(_), None) => Place::Cpu,
            (Executor::Tensors(_), Some(_)) => Place::Adapter,
        }
    }
}

/// The class of results: numerics version, backend, instruction set, adapter and driver where there is one, and a
/// fingerprint of the arithmetic. Results of one class are interchangeable; classes are never mixed.
fn class(name: &str, adapter: Option<&Adapter>, instructions: &str, fingerprint: &str) -> String {
    let cpu = format!("{} {instructions}", std::env::consts::ARCH);
    let place = match adapter {
        None => cpu,
        Some(a) => format!("{} {} {} {cpu}", a.name, a.api, a.driver),
    };
    format!("n{NUMERICS_VERSION} {name} {place} {fingerprint}")
}

/// Eight hex digits of a hash of what this device and this host make of a fixed set of operations.
///
/// Two machines with one processor can still differ: in the C library's tanh, exp and log, which CPU backends and the
/// metrics call, in how a product is cut to the caches, in a driver's shader compiler. This is meant to show it;
/// operations that are not in the set go unseen.
fn fingerprint(device: &Device) -> String {
    let ramp = ramp();
    let x = Tensor::<1>::from_data(TensorData::new(ramp.clone(), [ramp.len()]), device);
    let mut values = Vec::new();
    let mut add = |tensor: Tensor<1>| values.extend(host(tensor));
    add(x.clone().tanh());
    add(x.clone().exp());
    add((x.clone() * x.clone()).log());
    add((x.clone() * x.clone()).sqrt());
    // Inner dimensions long enough to be cut into blocks, and short ones that are not.
    for (rows, inner) in [(2, ramp.len() / 2), (16, 256), (64, 64)] {
        let a = x.clone().narrow(0, 0, rows * inner).reshape([1, rows, inner]);
        let b = x.clone().tanh().narrow(0, 0, rows * inner).reshape([1, inner, rows]);
        add(a.matmul(b).reshape([rows * rows]));
    }
    let half = ramp.len() / 2;
    let [a, b] = [0, half].map(|from| x.clone().narrow(0, from, half).reshape([1, 64, half / 64]));
    if fused(&a) {
        let zero = Tensor::zeros([1, 1, half / 64], device);
        let unit = |t| bias_normalise(bias_tanh(t, zero.clone()), zero.clone()).1;
        let settings = LossSettings::new(&[&TrainConfig::default()], device);
        let (loss, d_img, d_txt) = info_nce(&unit(a), &unit(b), &settings);
        [loss.total.reshape([1]), d_img.reshape([half]), d_txt.reshape([half])].into_iter().for_each(&mut add);
    }
    fingerprint_of(&values)
}

/// Arguments for a fingerprint.
pub(super) fn ramp() -> Vec<f32> {
    const HALF: usize = 2048;
    (0..2 * HALF).map(|i| (i as f32 - HALF as f32 + 0.5) / 300.0).collect()
}

/// Hashes what a program made of [`ramp`], and what the host's mathematical functions make of it.
pub(super) fn fingerprint_of(values: &[f32]) -> String {
    let mut hasher = blake3::Hasher::new();
    values.iter().for_each(|v| {
        hasher.update(&v.to_le_bytes());
    });
    for v in ramp().into_iter().map(f64::from) {
        hasher.update(&v.exp().to_le_bytes());
        hasher.update(&(v * v).ln().to_le_bytes());
    }
    hasher.finalize().to_hex()[..8].to_string()
}

impl Adapter {
    pub fn is_gpu(&self) -> bool {
        self.kind.ends_with("_gpu")
    }
}

fn preference(adapter: &Adapter) -> usize {
    let order = ["discrete_gpu", "integrated_gpu", "virtual_gpu", "other", "cpu"];
    order.iter().position(|kind| *kind == adapter.kind).unwrap_or(order.len())
}

/// The widest instruction set that the CPU kernels dispatch to at run time.
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            return "avx512f";
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return "avx2+fma";
        }
    }
    "baseline"
}

/// Address space that is left to drivers of graphics adapters at least. They end the process where they find none.
const DRIVER_MAPPED: u64 = 1 << 30;

/// Every graphics adapter of this machine, best first.
pub fn adapters() -> Result<Vec<Adapter>, BackendError> {
    if let Some(room) = crate::machine::rooms().refuses(0, DRIVER_MAPPED) {
        return Err(BackendError::NoRoom { left: room.bytes >> 20, of: room.of.clone() });
    }
    // Without this the instance also opens OpenGL, which needs a display and says so on standard error.
    let backends = wgpu::Backends::PRIMARY;
    let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let instance = wgpu::Instance::new(descriptor);
    let found = futures_lite::future::block_on(instance.enumerate_adapters(backends));
    let mut adapters: Vec<Adapter> = found.iter().map(|a| describe(&a.get_info())).collect();
    adapters.sort_by_key(preference);
    Ok(adapters)
}

fn describe(info: &wgpu::AdapterInfo) -> Adapter {
    Adapter {
        name: info.name.clone(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete_gpu",
            wgpu::DeviceType::IntegratedGpu => "integrated_gpu",
            wgpu::DeviceType::VirtualGpu => "virtual_gpu",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        },
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        api: info.backend.to_string(),
    }
}
