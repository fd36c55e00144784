// swift-tools-version: 6.2
import PackageDescription

/// What every Swift target of this package is built with: Swift 6 mode, every use of unsafe constructs marked, no
/// warning tolerated. `Lifetimes` lets owners of memory hand out `RawSpan`s, as SwiftNIO and swift-system do.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("MemberImportVisibility"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableExperimentalFeature("Lifetimes"),
]

/// What tests, and the code that only they use, are built with.
let forTests: [SwiftSetting] = [
    .enableUpcomingFeature("MemberImportVisibility"), .treatAllWarnings(as: .error),
    .enableExperimentalFeature("Lifetimes"),
]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
]
let nioHTTP: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")

/// What is fuzzed, and tested with the same inputs.
let fuzzed: [Target.Dependency] = [
    "BlockImage", "ByteFormat", "Catalog", "ControlRPC", "Encryption", "FormatCore", "GuestFiles", "ImageFormats",
    "ImageTools", "JSON", "LVM", "NBDServer", "HostTools", "OVA", "PartitionTable", "QCOW2", "Reports", "TestImages",
    "VDI", "VHD",
    "VMDK",
    .product(name: "NIOCore", package: "swift-nio"),
]

let package = Package(
    name: "rblock",
    products: [
        .executable(name: "rblock", targets: ["rblock"]),
        .executable(name: "rblockfs", targets: ["rblockfs"]),
        .library(name: "RBlock", targets: ["RBlock"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    ],
    targets: [
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"])]),
        .systemLibrary(name: "CExpat", pkgConfig: "expat", providers: [.apt(["libexpat1-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CFuse3", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev", "fuse3"])]),
        .target(name: "CLinux"),
        .target(name: "CGuest"),

        .target(name: "ByteFormat", swiftSettings: strict),
        .target(name: "JSON", swiftSettings: strict),
        .target(name: "BlockImage", swiftSettings: strict),
        .target(name: "HostStorage", dependencies: ["BlockImage", "CLinux", system], swiftSettings: strict),
        .target(
            name: "Compression", dependencies: ["BlockImage", "CDeflate", "CZlib", "CZstd"], swiftSettings: strict),
        .target(name: "Encryption", dependencies: ["BlockImage", "ByteFormat", "CCrypto"], swiftSettings: strict),
        .target(
            name: "KernelMap", dependencies: ["BlockImage", "ByteFormat", "CLinux", system], swiftSettings: strict),
        .target(name: "FormatCore", dependencies: ["BlockImage", "ByteFormat", "Encryption"], swiftSettings: strict),
        .target(name: "Raw", dependencies: ["BlockImage", "FormatCore"], swiftSettings: strict),
        .target(
            name: "QCOW2", dependencies: ["BlockImage", "ByteFormat", "Compression", "Encryption", "FormatCore"],
            swiftSettings: strict),
        .target(name: "ClusterMap", dependencies: ["BlockImage", "ByteFormat"], swiftSettings: strict),
        .target(
            name: "QCOW1",
            dependencies: ["BlockImage", "ByteFormat", "ClusterMap", "Compression", "Encryption", "FormatCore"],
            swiftSettings: strict),
        .target(
            name: "QED", dependencies: ["BlockImage", "ByteFormat", "ClusterMap", "FormatCore"], swiftSettings: strict),
        .target(
            name: "Parallels", dependencies: ["BlockImage", "ByteFormat", "ClusterMap", "FormatCore"],
            swiftSettings: strict),
        .target(
            name: "EWF", dependencies: ["BlockImage", "ByteFormat", "Compression", "Encryption", "FormatCore"],
            swiftSettings: strict),
        .target(
            name: "VMDK", dependencies: ["BlockImage", "ByteFormat", "Compression", "FormatCore"],
            swiftSettings: strict),
        .target(
            name: "VHD", dependencies: ["BlockImage", "ByteFormat", "Compression", "FormatCore"],
            swiftSettings: strict),
        .target(
            name: "VDI", dependencies: ["BlockImage", "ByteFormat", "Compression", "FormatCore"],
            swiftSettings: strict),
        .target(
            name: "VHDX", dependencies: ["BlockImage", "ByteFormat", "Compression", "FormatCore"],
            swiftSettings: strict),
        .target(
            name: "OVA", dependencies: ["BlockImage", "ByteFormat", "CExpat", "FormatCore"], swiftSettings: strict),
        .target(
            name: "ImageFormats",
            dependencies: [
                "BlockImage", "ByteFormat", "Compression", "EWF", "Encryption", "FormatCore", "HostStorage", "OVA",
                "Parallels", "QCOW1", "QCOW2", "QED", "Raw", "VDI", "VHD", "VHDX", "VMDK",
            ],
            swiftSettings: strict),
        .target(
            name: "PartitionTable", dependencies: ["BlockImage", "ByteFormat", "Compression"], swiftSettings: strict),
        .target(name: "GuestFiles", dependencies: ["BlockImage", "ByteFormat"], swiftSettings: strict),
        .target(name: "GuestProtocol", dependencies: ["ByteFormat"], swiftSettings: strict),
        .target(name: "LVM", dependencies: ["BlockImage", "ByteFormat", "Compression"], swiftSettings: strict),
        .target(
            name: "Catalog",
            dependencies: [
                "BlockImage", "FormatCore", "GuestFiles", "HostStorage", "ImageFormats", "LVM", "Overlays",
                "PartitionTable", system,
            ],
            swiftSettings: strict),
        .target(
            name: "Attachment", dependencies: ["BlockImage", "CLinux", "HostStorage", "JSON", system],
            swiftSettings: strict),
        .target(name: "Fuse", dependencies: ["CFuse3", system], swiftSettings: strict),
        .target(
            name: "Overlays",
            dependencies: ["BlockImage", "FormatCore", "HostStorage", "ImageFormats", "QCOW2", system],
            swiftSettings: strict),
        .target(
            name: "GuestKernel",
            dependencies: [
                "BlockImage", "ByteFormat", "CLinux", "GuestFiles", "GuestProtocol", "HostStorage", "Overlays", system,
            ],
            swiftSettings: strict),
        .target(
            name: "ImageFS",
            dependencies: [
                "BlockImage", "Catalog", "FormatCore", "Fuse", "GuestFiles", "HostStorage", "ImageFormats", "KernelMap",
                "Overlays", "PartitionTable", "Reports",
                logging, system,
            ],
            swiftSettings: strict),
        .target(
            name: "ImageTools",
            dependencies: [
                "BlockImage", "ByteFormat", "Catalog", "Encryption", "FormatCore", "HostStorage", "ImageFormats",
                "PartitionTable", system,
            ],
            swiftSettings: strict),
        .target(
            name: "Reports",
            dependencies: [
                "Attachment", "BlockImage", "ByteFormat", "Catalog", "Encryption", "FormatCore", "GuestFiles",
                "HostStorage", "ImageFormats", "ImageTools", "JSON", "LVM", "Overlays", "PartitionTable",
            ],
            swiftSettings: strict),
        .target(
            name: "RBlock",
            dependencies: ["BlockImage", "Catalog", "FormatCore", "ImageFormats", "PartitionTable", system],
            swiftSettings: strict),
        .target(name: "Sockets", dependencies: ["BlockImage", logging, system], swiftSettings: strict),
        .target(
            name: "AccessLog", dependencies: ["BlockImage", .product(name: "NIOCore", package: "swift-nio")],
            swiftSettings: strict),
        .target(
            name: "NBDServer",
            dependencies: [
                "AccessLog", "BlockImage", "Catalog", "Encryption", "FormatCore", "ImageFormats", "Sockets",
                logging, nioSSL, .product(name: "NIOTLS", package: "swift-nio"),
            ] + nio,
            swiftSettings: strict),
        .target(
            name: "ControlRPC",
            dependencies: [
                "AccessLog", "BlockImage", "Catalog", "ImageFormats", "ImageTools", "JSON", "Reports", "Sockets",
                logging, nioHTTP,
                system,
            ] + nio,
            swiftSettings: strict),
        .target(
            name: "Completion", dependencies: ["BlockImage", "JSON", argumentParser, system], swiftSettings: strict),
        .target(
            name: "Arguments",
            dependencies: ["BlockImage", "CLinux", "Encryption", "HostStorage", argumentParser, system],
            swiftSettings: strict),
        .target(
            name: "RBlockFSCommand",
            dependencies: [
                "Arguments", "BlockImage", "CFuse3", "CLinux", "Completion", "Encryption", "FormatCore", "Fuse",
                "HostStorage", "ImageFS", "ImageFormats", "Overlays", "Sockets", argumentParser, logging, system,
            ],
            exclude: ["Samples"],
            swiftSettings: strict),
        .target(
            name: "RBlockCommand",
            dependencies: [
                "AccessLog", "Arguments", "Attachment", "BlockImage", "CLinux", "Catalog", "Completion", "ControlRPC",
                "Encryption", "FormatCore", "GuestFiles", "GuestKernel",
                "HostStorage", "ImageFormats", "ImageTools", "JSON", "LVM", "NBDServer", "Overlays", "PartitionTable",
                "Reports", "Sockets",
                argumentParser, logging,
                system,
            ],
            swiftSettings: strict),

        .executableTarget(name: "rblockfs", dependencies: ["RBlockFSCommand"], swiftSettings: strict),
        .executableTarget(name: "rblock", dependencies: ["RBlockCommand"], swiftSettings: strict),
        // The first process of a machine that has no libraries.
        .executableTarget(
            name: "rblock-guest", dependencies: ["CGuest", "GuestProtocol"], swiftSettings: strict,
            linkerSettings: [.unsafeFlags(["-static-executable"])]),

        .target(name: "HostTools", dependencies: ["CLinux"], swiftSettings: forTests),
        .target(
            name: "TestImages",
            dependencies: ["BlockImage", "CLinux", "CZlib", "CZstd", "Compression", "GuestFiles", "HostTools"],
            path: "Tests/Support", swiftSettings: forTests),
        .target(name: "CBench"),
        .executableTarget(name: "rblock-bench-floor", dependencies: ["CFuse3"]),
        .executableTarget(name: "rblock-faultfs", dependencies: ["CFuse3"]),
        .executableTarget(
            name: "rblock-bench", dependencies: ["Arguments", "CBench", "HostTools", argumentParser],
            swiftSettings: forTests),

        .target(
            name: "CrashReplay",
            dependencies: [
                "BlockImage", "Catalog", "HostTools", "ImageFormats", "Overlays", "QCOW2", system,
            ],
            path: "Tests/CrashReplay", swiftSettings: forTests),
        .executableTarget(
            name: "rblock-crash", dependencies: ["CrashReplay", argumentParser], path: "Tests/CrashTool",
            swiftSettings: forTests),
        .testTarget(
            name: "CrashTests", dependencies: ["BlockImage", "CrashReplay", "HostTools", "QCOW2", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "VMDKTests", dependencies: ["BlockImage", "ByteFormat", "HostTools", "TestImages", "VMDK"],
            swiftSettings: forTests
        ),
        .testTarget(
            name: "VHDXTests",
            dependencies: ["BlockImage", "ByteFormat", "FormatCore", "HostTools", "TestImages", "VHDX"],
            swiftSettings: forTests),

        .testTarget(
            name: "ByteFormatTests", dependencies: ["ByteFormat", "HostTools", "TestImages"], swiftSettings: forTests),
        .testTarget(
            name: "BlockImageTests", dependencies: ["BlockImage", "HostTools", "TestImages"], swiftSettings: forTests),
        .testTarget(
            name: "HostStorageTests", dependencies: ["BlockImage", "HostStorage", "HostTools", "TestImages", system],
            swiftSettings: forTests),
        .testTarget(
            name: "KernelMapTests",
            dependencies: [
                "BlockImage", "CLinux", "HostStorage", "ImageFormats", "KernelMap", "HostTools", "TestImages", system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "CompressionTests", dependencies: ["BlockImage", "Compression", "HostTools", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "QCOW2Tests",
            dependencies: ["BlockImage", "ByteFormat", "FormatCore", "QCOW2", "HostTools", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "QCOW2WritableTests",
            dependencies: ["BlockImage", "FormatCore", "HostStorage", "QCOW2", "HostTools", "TestImages", system],
            swiftSettings: forTests),
        .testTarget(
            name: "VHDTests",
            dependencies: ["BlockImage", "Encryption", "FormatCore", "VHD", "HostTools", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "VDITests",
            dependencies: ["BlockImage", "Encryption", "FormatCore", "VDI", "HostTools", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "ClusterMapTests",
            dependencies: [
                "BlockImage", "FormatCore", "ImageFormats", "ImageTools", "Reports", "HostTools", "TestImages",
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "EWFTests",
            dependencies: ["BlockImage", "Compression", "EWF", "FormatCore", "ImageFormats", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "OVATests",
            dependencies: [
                "BlockImage", "ByteFormat", "FormatCore", "HostStorage", "ImageFormats", "OVA", "HostTools",
                "TestImages",
                system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "ImageFormatsTests",
            dependencies: [
                "BlockImage", "FormatCore", "HostStorage", "ImageFormats", "QCOW2", "Raw", "HostTools", "TestImages",
                "VMDK", system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "OracleTests",
            dependencies: [
                "BlockImage", "Catalog", "FormatCore", "HostStorage", "ImageFormats", "ImageTools", "QCOW2",
                "Reports", "HostTools", "TestImages", "VMDK",
                system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "PartitionTableTests",
            dependencies: [
                "BlockImage", "HostStorage", "ImageFormats", "PartitionTable", "HostTools", "TestImages", system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "GuestFilesTests",
            dependencies: ["BlockImage", "ByteFormat", "Compression", "GuestFiles", "HostTools", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "GuestKernelTests",
            dependencies: [
                "BlockImage", "ByteFormat", "Catalog", "CrashReplay", "GuestFiles", "GuestKernel", "GuestProtocol",
                "HostTools", "ImageFormats", "TestImages", system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "LVMTests", dependencies: ["BlockImage", "ByteFormat", "LVM", "HostTools", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "SocketsTests", dependencies: ["BlockImage", "Sockets", "HostTools", "TestImages"],
            swiftSettings: forTests),
        .testTarget(name: "TidyTests", dependencies: [], swiftSettings: forTests),
        .testTarget(
            name: "EncryptionTests", dependencies: ["ByteFormat", "CCrypto", "Encryption", "HostTools", "TestImages"],
            swiftSettings: forTests),
        .testTarget(
            name: "QCOW2ExtensionTests",
            dependencies: [
                "BlockImage", "ByteFormat", "Encryption", "FormatCore", "HostStorage", "ImageFormats", "QCOW2",
                "HostTools", "TestImages", system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "CatalogTests",
            dependencies: [
                "BlockImage", "Catalog", "FormatCore", "HostStorage", "ImageFormats", "LVM", "QCOW2", "HostTools",
                "TestImages",
                system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "ImageToolsTests",
            dependencies: [
                "BlockImage", "Catalog", "Encryption", "ImageFormats", "ImageTools", "QCOW2", "HostTools", "TestImages",
                system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "ReportsTests", dependencies: ["BlockImage", "Catalog", "Reports"], swiftSettings: forTests),
        .testTarget(name: "RBlockTests", dependencies: ["RBlock", "HostTools", "TestImages"], swiftSettings: forTests),
        .testTarget(
            name: "FuseTests", dependencies: ["Fuse", "HostTools", "TestImages", system], swiftSettings: forTests),
        .executableTarget(
            name: "rblock-toy",
            dependencies: ["BlockImage", "FormatCore", "ImageFormats", "RBlockCommand", "RBlockFSCommand"],
            path: "Tests/ToyFormat", swiftSettings: forTests),
        .testTarget(
            name: "ImageFSTests",
            dependencies: [
                "BlockImage", "Catalog", "Fuse", "ImageFS", "ImageFormats", "KernelMap", "HostTools", logging, system,
            ],
            swiftSettings: forTests),
        .testTarget(name: "MountTests", dependencies: ["HostTools", "TestImages"], swiftSettings: forTests),
        .testTarget(
            name: "InspectTests",
            dependencies: [
                "BlockImage", "Catalog", "HostStorage", "ImageFormats", "ImageTools", "QCOW2", "Reports", "HostTools",
                "TestImages",
                "VMDK",
                system,
            ],
            swiftSettings: forTests),
        .testTarget(
            name: "NBDServerTests",
            dependencies: ["BlockImage", "Catalog", "ImageTools", "NBDServer", "HostTools", "TestImages", system] + nio,
            swiftSettings: forTests),
        .testTarget(name: "ServeTests", dependencies: ["HostTools", "TestImages"], swiftSettings: forTests),
        .testTarget(
            name: "CommandTests", dependencies: ["HostTools", "TestImages"], exclude: ["Scripts"],
            swiftSettings: forTests),
        .testTarget(
            name: "FuzzTests", dependencies: fuzzed, exclude: ["Fuzzer"], swiftSettings: forTests),
        .testTarget(name: "BootTests", dependencies: ["HostTools", "TestImages"], swiftSettings: forTests),
        .testTarget(name: "JSONTests", dependencies: ["JSON", "HostTools", "TestImages"], swiftSettings: forTests),
        .testTarget(
            name: "ControlRPCTests",
            dependencies: [
                "AccessLog", "BlockImage", "Catalog", "ControlRPC", "ImageTools", "JSON", "HostTools", "TestImages",
                system,
            ],
            swiftSettings: forTests),
    ],
    swiftLanguageModes: [.v6]
)

/// With RBLOCK_OPTIMIZE, as make(1) sets it, builds for debugging optimise what goes through the bytes of images: much of the
/// time of the tests. Overflow is checked all the same. A variable, since a package with such flags is none to depend on.
if Context.environment["RBLOCK_OPTIMIZE"] != nil {
    let optimized = [
        "BlockImage", "ByteFormat", "Catalog", "ClusterMap", "Compression", "CrashReplay", "EWF", "Encryption", "Fuse",
        "GuestFiles", "GuestProtocol", "HostStorage", "ImageFS", "ImageFormats", "ImageTools", "KernelMap", "LVM",
        "Parallels", "QCOW1",
        "QCOW2",
        "VDI", "VHD",
        "VHDX", "QED", "VMDK", "rblock-guest",
    ]
    for target in package.targets where optimized.contains(target.name) {
        target.swiftSettings? += [.unsafeFlags(["-O"], .when(configuration: .debug))]
    }
}

/// With RBLOCK_SMALL, as `make release` sets it, modules in which little of the time goes are built to be small.
if Context.environment["RBLOCK_SMALL"] != nil {
    let small = [
        "AccessLog", "Arguments", "Attachment", "Catalog", "Completion", "ControlRPC", "EWF", "FormatCore",
        "GuestFiles", "ImageFormats", "ImageTools", "JSON", "LVM", "OVA", "Overlays", "Parallels", "PartitionTable",
        "QCOW1", "QED",
        "RBlockCommand", "RBlockFSCommand", "Reports", "Sockets", "VDI", "VHD", "VHDX", "VMDK",
        "GuestKernel", "GuestProtocol", "rblock-guest",
    ]
    for target in package.targets where small.contains(target.name) {
        target.swiftSettings? += [.unsafeFlags(["-Osize"], .when(configuration: .release))]
    }
}

/// `make fuzz` builds the program `rblock-fuzz`, which has the main function of libFuzzer, in the place of the tests that run
/// the same targets; and of the servers only their protocols, since sockets and TLS would take most of the time. What a
/// fuzzed input covers is counted in these modules alone, not in libraries and test support: libFuzzer goes through all
/// counters for each input.
if let modules = Context.environment["RBLOCK_FUZZ"] {
    let covered = modules.split(separator: " ").map(String.init)
    package.targets.removeAll { $0.name == "FuzzTests" }
    package.targets.append(
        .executableTarget(
            name: "rblock-fuzz", dependencies: fuzzed, path: "Tests/FuzzTests", exclude: ["ReplayTests.swift"],
            swiftSettings: forTests + [.unsafeFlags(["-parse-as-library"])],
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address"])]))
    for target in package.targets where covered.contains(target.name) {
        target.swiftSettings = (target.swiftSettings ?? []) + [.unsafeFlags(["-sanitize=fuzzer,address"])]
    }
    let protocolsOnly: [String: (sources: [String]?, excluded: [String])] = [
        "ControlRPC": (["RPCError.swift", "RPCRequest.swift"], []),
        "NBDServer": (
            nil,
            [
                "HandshakePhase.swift", "NBDServer.swift", "PresharedKeys.swift", "Serving.swift", "TLSFault.swift",
                "TLSOptions.swift", "TLSServer.swift", "TransmissionPhase+Memory.swift",
                "TransmissionPhase+Sending.swift", "TransmissionPhase+Writing.swift", "TransmissionPhase.swift",
                "WriteUnderWay.swift",
            ]
        ),
    ]
    for target in package.targets {
        guard let files = protocolsOnly[target.name] else { continue }
        target.sources = files.sources
        target.exclude = files.excluded
        target.dependencies = [
            "BlockImage", "Catalog", "FormatCore", "ImageFormats", "JSON", "Reports",
            .product(name: "NIOCore", package: "swift-nio"),
        ]
    }
}
