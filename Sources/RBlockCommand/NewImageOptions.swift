import ArgumentParser
import BlockImage
import FormatCore
import HostStorage
import ImageFormats
import ImageTools
import Reports
import SystemPackage

/// What is said to every verb of how a new image is made.
struct NewImageOptions: ParsableArguments {
    @Option(
        name: .customShort("o"),
        help: ArgumentHelp(
            "Options of the format, as for qemu-img: cluster_size=64k,compat=1.1. 'help' lists them, as rblock-formats(7) does. Repeatable.",
            valueName: "name=value,..."),
        completion: .newImageOptions)
    var settings: [String] = []

    @Flag(help: "Replace what is there: a file, or the content of a device.") var force = false

    @Flag(name: .shortAndLong, help: "Print nothing when it is done.") var quiet = false

    @Flag(
        name: .customLong("no-sync"),
        help: "Do not wait until the image is on the disk; quicker, and lost when the power fails now.")
    var noSync = false

    /// The options of the format. Throws wrong usage for what is none.
    func list() throws -> ImageOptionList { try optionList(settings) }

    /// How the image is written to its place, when it is made of the files `sources`.
    func destination(_ sources: [any HostFile] = []) -> DestinationOptions {
        var options = DestinationOptions()
        options.replaces = force
        options.isFlushed = !noSync
        options.sources = Set(sources.flatMap(\.identities))
        return options
    }
}

/// What the values of -o say. Throws wrong usage for what is no option.
func optionList(_ settings: [String]) throws -> ImageOptionList {
    var list = ImageOptionList()
    do throws(OptionFault) {
        for text in settings { try list.add(text) }
    } catch {
        throw ValidationError(error.message)
    }
    return list
}

/// The formats that new images can have, for people.
var creatableFormats: String { ImageFormat.names(before: "or") { $0.driver is any CreatableFormat } }

/// The format of the new image at `path`: `named`, or else what the extension says.
func newFormat(_ named: ImageFormat?, of path: String, option: String) throws(Failure) -> ImageFormat {
    if let named { return named }
    if case .format(let format)? = ImageFormat.naming(of: path.nameBytes) { return format }
    throw Failure(
        "\(path): the name does not say the format of the new image; \(option) \(creatableFormats) says it", status: 64)
}

/// Does `work`, of which an option fault is wrong usage.
func usage<Result>(_ work: () throws(OptionFault) -> Result) throws(Failure) -> Result {
    do throws(OptionFault) {
        return try work()
    } catch {
        throw Failure(error.message, status: 64)
    }
}

/// How much space a new image takes, as the end of the line about it.
func takenSpace(_ size: UInt64?) -> String { size.map { "; takes \(humanSize($0)) on the host" } ?? "" }

/// Prints the options of the format that `format` answers, as `-o help` asks for.
func printOptions(as form: OutputForm, of format: () throws -> ImageFormat) throws {
    try Failure.reported(as: form) {
        let format = try format()
        let options = try usage { () throws(OptionFault) in try NewImage.options(of: format) }
        guard form == .human else { return try writeJSON(OptionsReport(format: format.rawValue, options)) }
        let output = StandardOutput()
        for (name, help, _) in options { try output.write(lines: "\(padded(name, 18)) \(help)\n", hanging: 19) }
        try output.flush()
    }
}
