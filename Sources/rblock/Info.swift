import ArgumentParser
import ImageFormats
import ImageTools

/// `rblock info`: what an image is.
struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell what an image is: its format, sizes, features, snapshots.",
        discussion: """
            EXAMPLES
              rblock info disk.qcow2
              rblock info --output json --backing-chain disk.qcow2
            """)

    @OptionGroup var options: ImageOptions
    @Option(help: "human, or json: the keys of qemu-img info, and more.") var output = OutputForm.human
    @Argument(help: ArgumentHelp("The images.", valueName: "IMAGE")) var images: [String]

    func run() throws {
        try Failure.reported {
            for path in images {
                let opened = try options.image(path).open()
                guard let layer = opened.layers.first else { continue }
                let info = ImageInfo(layer)
                switch output {
                case .human: print("image: \(info.filename)\nfile format: \(info.format)")
                case .json: try writeJSON(info)
                }
            }
        }
    }
}
