//! `target.xml`: what tells gdb of the registers ("Debugging with GDB", appendix G).

use super::{
    mode::CodeMode,
    registers::{Feature, REGISTERS, Register},
};
use std::fmt::{self, Write};

/// RFLAGS by gdb's names.
const EFLAGS: &[(&str, u8)] = &[
    ("CF", 0),
    ("", 1),
    ("PF", 2),
    ("AF", 4),
    ("ZF", 6),
    ("SF", 7),
    ("TF", 8),
    ("IF", 9),
    ("DF", 10),
    ("OF", 11),
    ("NT", 14),
    ("RF", 16),
    ("VM", 17),
    ("AC", 18),
    ("VIF", 19),
    ("VIP", 20),
    ("ID", 21),
];
const MXCSR: &[(&str, u8)] = &[
    ("IE", 0),
    ("DE", 1),
    ("ZE", 2),
    ("OE", 3),
    ("UE", 4),
    ("PE", 5),
    ("DAZ", 6),
    ("IM", 7),
    ("DM", 8),
    ("ZM", 9),
    ("OM", 10),
    ("UM", 11),
    ("PM", 12),
    ("FZ", 15),
];
/// Interpretations of 16 bytes: name, type of an element, elements.
const VECTORS: &[(&str, &str, u8)] = &[
    ("v4_float", "ieee_single", 4),
    ("v2_double", "ieee_double", 2),
    ("v16_int8", "int8", 16),
    ("v8_int16", "int16", 8),
    ("v4_int32", "int32", 4),
    ("v2_int64", "int64", 2),
];

/// The description for a vCPU in `mode`.
pub fn target_xml(mode: CodeMode) -> String {
    let mut xml = String::new();
    // A string takes everything.
    let _ = write(&mut xml, mode);
    xml
}

fn write(xml: &mut String, mode: CodeMode) -> fmt::Result {
    writeln!(
        xml,
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">"
    )?;
    writeln!(xml, "<architecture>{}</architecture>", mode.architecture())?;
    for feature in Feature::ALL {
        writeln!(xml, "<feature name=\"{}\">", feature.name())?;
        match feature {
            Feature::Core => flags(xml, "i386_eflags", EFLAGS)?,
            Feature::Sse => {
                vectors(xml)?;
                flags(xml, "i386_mxcsr", MXCSR)?;
            }
            Feature::Avx | Feature::System => {}
        }
        let group = feature.group().map(|group| format!(" group=\"{group}\"")).unwrap_or_default();
        for Register { name, bits, kind, .. } in REGISTERS.iter().filter(|r| r.feature == feature) {
            writeln!(xml, "<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\"{group}/>")?;
        }
        writeln!(xml, "</feature>")?;
    }
    writeln!(xml, "</target>")
}

fn flags(xml: &mut String, id: &str, bits: &[(&str, u8)]) -> fmt::Result {
    writeln!(xml, "<flags id=\"{id}\" size=\"4\">")?;
    for (name, bit) in bits {
        writeln!(xml, "<field name=\"{name}\" start=\"{bit}\" end=\"{bit}\"/>")?;
    }
    writeln!(xml, "</flags>")
}

fn vectors(xml: &mut String) -> fmt::Result {
    for (name, element, count) in VECTORS {
        writeln!(xml, "<vector id=\"{name}\" type=\"{element}\" count=\"{count}\"/>")?;
    }
    writeln!(xml, "<union id=\"vec128\">")?;
    for (name, ..) in VECTORS {
        writeln!(xml, "<field name=\"{name}\" type=\"{name}\"/>")?;
    }
    writeln!(xml, "<field name=\"uint128\" type=\"uint128\"/>\n</union>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Values of `attribute` in elements `element` of `xml`, in order.
    fn values<'a>(xml: &'a str, element: &str, attribute: &str) -> Vec<&'a str> {
        let value = |line: &'a str| {
            let (_, rest) = line.split_once(&format!(" {attribute}=\""))?;
            rest.split('"').next()
        };
        xml.lines().filter(|line| line.starts_with(&format!("<{element} "))).filter_map(value).collect()
    }

    #[test]
    fn the_description_lists_the_registers_in_the_order_of_their_numbers() {
        let xml = target_xml(CodeMode::Long);
        let names: Vec<&str> = REGISTERS.iter().map(|register| register.name.as_str()).collect();
        assert_eq!(values(&xml, "reg", "name"), names);
        assert_eq!(BTreeSet::from_iter(&names).len(), names.len(), "each name once");
        let sizes: Vec<String> =
            REGISTERS.iter().map(|register| (8 * register.bytes()).to_string()).collect();
        assert_eq!(values(&xml, "reg", "bitsize"), sizes);
    }

    #[test]
    fn every_type_is_gdbs_or_defined() {
        let xml = target_xml(CodeMode::Real);
        let mut known: BTreeSet<&str> =
            ["int8", "int16", "int32", "int64", "uint128", "ieee_single", "ieee_double", "i387_ext"].into();
        for element in ["flags", "vector", "union"] {
            known.extend(values(&xml, element, "id"));
        }
        for element in ["reg", "vector"] {
            for kind in values(&xml, element, "type") {
                assert!(known.contains(kind), "{kind}");
            }
        }
    }

    #[test]
    fn the_core_has_what_each_of_gdbs_architectures_asks_for() {
        let core: BTreeSet<&str> = REGISTERS
            .iter()
            .filter(|register| register.feature == Feature::Core)
            .map(|register| register.name.as_str())
            .collect();
        for name in ["rax", "rip", "r15", "eax", "edi", "eip", "eflags", "cs", "gs", "st7", "fop"] {
            assert!(core.contains(name), "{name}");
        }
    }
}
