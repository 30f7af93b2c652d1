//! The host's code generator.

use crate::emitter::opaque::Opaque;
use cranelift_codegen::{
    CodegenError, Context,
    control::ControlPlane,
    ir::{AbiParam, Signature, types::I64},
    isa::{self, OwnedTargetIsa, TargetFrontendConfig},
    settings::{self, Configurable, SetError},
};
use thiserror::Error;

/// Why there is no code.
#[derive(Debug, Error)]
pub enum HostError {
    /// Cranelift does not know this host.
    #[error("no code generator for this host: {0}")]
    Unknown(&'static str),
    /// A setting is not known.
    #[error("a setting of the code generator: {0}")]
    Setting(#[from] SetError),
    /// A function was refused.
    #[error("code generation: {0}")]
    Codegen(#[from] CodegenError),
}

/// What the processor that code is made for has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// It is an x86 itself: with an x87, with the floating-point operations of SSE2, and with machine code of ours that
    /// fills the TLB.
    pub x86: bool,
    /// The shuffles and products of SSSE3.
    pub ssse3: bool,
}

impl Target {
    fn of(isa: &OwnedTargetIsa) -> Self {
        let ssse3 =
            isa.isa_flags().iter().any(|flag| flag.name == "has_ssse3" && flag.as_bool() == Some(true));
        Target { x86: isa.name() == "x64", ssse3 }
    }

    /// Whether it does its accesses to memory, and others see them, in the order that an x86 guest may take for granted.
    pub fn orders_accesses(self) -> bool {
        self.x86
    }
}

/// Code generators for this host.
pub struct Host {
    /// Reorders and merges what it likes.
    optimising: OwnedTargetIsa,
    /// Leaves every operation where it is.
    plain: OwnedTargetIsa,
}

impl Host {
    /// Those of this machine.
    pub fn new() -> Result<Self, HostError> {
        Self::made_by(|| cranelift_native::builder().map_err(HostError::Unknown))
    }

    /// Those of the architecture `name` with the features of the presets `features`, whatever this machine is.
    #[cfg(test)]
    pub fn fixed(name: &str, features: &[&str]) -> Result<Self, HostError> {
        Self::made_by(|| {
            let unknown = |_| HostError::Unknown("not among the code generators");
            let mut builder = isa::lookup_by_name(name).map_err(unknown)?;
            features.iter().try_for_each(|preset| builder.enable(preset))?;
            Ok(builder)
        })
    }

    fn made_by(builder: impl Fn() -> Result<isa::Builder, HostError>) -> Result<Self, HostError> {
        Ok(Host { optimising: target(&builder()?, "speed")?, plain: target(&builder()?, "none")? })
    }

    /// What the host has.
    pub fn target(&self) -> Target {
        Target::of(&self.plain)
    }

    /// Signature of a region's entry: CPU and points, to an exit.
    pub fn entry_signature(&self) -> Signature {
        self.two_pointers()
    }

    /// Signature of [`exact`](emu_core::region::layout::exact).
    pub fn exact_signature(&self) -> Signature {
        self.two_pointers()
    }

    fn two_pointers(&self) -> Signature {
        let mut signature = Signature::new(self.plain.default_call_conv());
        signature.params = vec![AbiParam::new(I64), AbiParam::new(I64)];
        signature.returns = vec![AbiParam::new(I64)];
        signature
    }

    /// What Cranelift's front end must know of the target.
    pub fn frontend_config(&self) -> TargetFrontendConfig {
        self.plain.frontend_config()
    }

    /// Machine code of the function in `context`. Where it has floating-point operations, those are revealed once it is
    /// optimised, which it is in any case: see [`Opaque`].
    pub fn compile(
        &self,
        context: &mut Context,
        optimise: bool,
        floats: &Opaque,
    ) -> Result<Vec<u8>, HostError> {
        if !floats.is_empty() {
            context.optimize(&*self.optimising, &mut ControlPlane::default())?;
            floats.reveal(&mut context.func);
        }
        let isa = if optimise && floats.is_empty() { &self.optimising } else { &self.plain };
        let compiled = context.compile(&**isa, &mut ControlPlane::default()).map_err(|error| error.inner)?;
        debug_assert!(compiled.buffer.relocs().is_empty(), "host code that refers to something by name");
        Ok(compiled.code_buffer().to_vec())
    }
}

fn target(builder: &isa::Builder, level: &str) -> Result<OwnedTargetIsa, HostError> {
    let mut flags = settings::builder();
    flags.set("opt_level", level)?;
    flags.set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" })?;
    flags.set("enable_probestack", "false")?;
    flags.set("unwind_info", "false")?;
    Ok(builder.finish(settings::Flags::new(flags))?)
}
