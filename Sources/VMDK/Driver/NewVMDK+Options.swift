import BlockImage
import FormatCore

extension NewVMDK {
    static let options: [ImageOption<Self>] = [
        ImageOption(
            name: "subformat", help: Subformat.allCases.map(\.rawValue).joined(separator: ", "),
            values: Subformat.allCases.map(\.rawValue)
        ) { (new, value) throws(OptionFault) in new.subformat = try value.choice() },
        ImageOption(
            name: "adapter_type", help: AdapterType.allCases.map(\.rawValue).joined(separator: ", "),
            values: AdapterType.allCases.map(\.rawValue)
        ) { (new, value) throws(OptionFault) in new.adapterType = try value.choice() },
        ImageOption(name: "hwversion", help: "the version of the virtual hardware; 4, which every product reads") {
            (new, value) throws(OptionFault) in new.hardwareVersion = try value.number()
        },
        ImageOption(name: "compat6", help: "on: hwversion is 6", values: OptionValue.flags) {
            (new, value) throws(OptionFault) in
            if try value.flag() { new.hardwareVersion = 6 }
        },
        ImageOption(name: "toolsversion", help: "the version of VMware Tools in the guest") {
            (new, value) throws(OptionFault) in new.toolsVersion = try value.number()
        },
        ImageOption(
            name: "zeroed_grain", help: "on: zeros over a parent are marked, and not written", values: OptionValue.flags
        ) {
            (new, value) throws(OptionFault) in new.hasZeroedGrains = try value.flag()
        },
    ]
}
