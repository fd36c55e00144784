import ArgumentParser
import BlockImage
import Catalog
import FormatCore
import HostStorage
import ImageFormats
import ImageTools
import Reports
import SystemPackage

/// `rblock inspect`: an image's structures, byte by byte.
struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show how an image file is laid out: every field, table and cluster, and what is wrong where.",
        usage: "rblock inspect [<options>] <IMAGE>",
        discussion: """
            Shows each header field with its offset, its bytes and its meaning, the extensions, the tables, and, with \
            --l2, every entry of the second tables. Goes on where a damaged image cannot be read: what is wrong stands \
            behind !! under the field or entry that it is about. Nothing is written, and no backing file is opened. \
            'rblock IMAGE --inspect' is the same.

            EXAMPLES
              rblock inspect disk.qcow2
              # the second tables, too, up to 100 entries of each kind
              rblock inspect --l2 --limit 100 disk.qcow2
              # what each part of the file is used for, as letters, and as a picture
              rblock inspect --graph disk.vmdk
              rblock inspect --svg disk.svg disk.qcow2
              rblock inspect --html disk.html disk.qcow2; xdg-open disk.html
              rblock inspect --output json disk.qcow2 | jq '.structures[].name'

            EXIT STATUS
              0   shown, and nothing wrong was seen in what was shown
              1   the image cannot be opened or read, or the picture cannot be written
                  or would replace a file
              2   shown, but something in it is wrong
              64  wrong usage

            SEE ALSO
              rblock(1), rblock-check(1), rblock-map(1), rblock-json(5), rblock-formats(7)
            """)

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Take the image for one of this format: \(ImageFormat.names(before: "or") { $0.driver is any InspectableFormat }); by default what its content says, else its name.",
            valueName: "format"))
    var format: ImageFormat?

    @Option(
        name: .customLong("allow-path"),
        help: ArgumentHelp(
            "A folder besides the image's own in which the files that VMDK extents name are looked for. Repeatable.",
            valueName: "dir"),
        completion: .directory)
    var allowPaths: [String] = []

    @Flag(
        name: [.customLong("l2"), .customLong("gte")],
        help: "List the entries of the second tables too: L2 entries, grain table entries, markers of grains.")
    var showsEntries = false

    @Flag(help: "Draw what the parts of the file are used for as letters, behind the listing.")
    var graph = false

    @Option(
        help: ArgumentHelp(
            "Draw it as a picture, too: an SVG file, with a legend and a tooltip on every square.", valueName: "file"),
        completion: .file(extensions: ["svg"]))
    var svg: String?

    @Option(
        help: ArgumentHelp(
            "Make a page of HTML to look at, too: the picture, in which one zooms, which part of the disk each part of the file stores, and lists of the structures and of what is wrong that lead into it. It needs no network. Of L2 entries and grains it names a few hundred a table, and what is wrong in the first million.",
            valueName: "file"),
        completion: .file(extensions: ["html"]))
    var html: String?

    @Flag(help: "Let the picture or page replace a file that is there; never one of the image's own.") var force = false

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "The most entries of each kind of table that are shown; 0 for all. What is left out is counted.",
            valueName: "count"))
    var limit: UInt64 = 10_000

    @OptionGroup var colors: ColorOption
    @Option(help: ArgumentHelp("human, or json: one object, written as it is found.", valueName: "form")) var output =
        OutputForm.human
    @Argument(help: ArgumentHelp("The image.", valueName: "IMAGE"), completion: .file()) var image: String

    func validate() throws {
        let places = [svg, html].compactMap { $0.map { FilePath(text: $0).lexicallyNormalized() } }
        if places.count == 2, places[0] == places[1] { throw ValidationError("--svg and --html: name two files") }
    }

    func run() throws {
        var faults: UInt64 = 0
        try Failure.reported(as: output, filename: image) { faults = try show() }
        if faults > 0 { throw ExitCode(2) }
    }

    /// Shows the image, and answers how many things are wrong in what was shown.
    private func show() throws -> UInt64 {
        var named = NamedImage(FilePath(text: image), format: format)
        named.allowed = allowPaths.map { FilePath(text: $0) }
        func place(_ path: String?, _ what: String) throws -> PictureFile? {
            try path.map { try PictureFile(at: FilePath(text: $0), of: [named], as: what, replaces: force) }
        }
        let pictures = (svg: try place(svg, "picture"), html: try place(html, "page"))
        return try PictureFile.saying(ifMissing: [pictures.svg, pictures.html]) { try show(named, pictures) }
    }

    private func show(_ named: NamedImage, _ pictures: Pictures) throws -> UInt64 {
        let inspected = try InspectedImage(named)
        let options = LayoutOptions(showsEntries: showsEntries, entryLimit: limit == 0 ? .max : limit)
        let printer = StandardOutput()
        let faults = Result {
            switch output {
            case .human: try showText(inspected, options, pictures, printer)
            case .json: try showJSON(inspected, options, pictures, printer)
            }
        }
        // What was found before something failed is shown, too.
        try printer.flush()
        return try faults.get()
    }

    /// Where the pictures go that were asked for.
    private typealias Pictures = (svg: PictureFile?, html: PictureFile?)

    private func showText(
        _ inspected: InspectedImage, _ options: LayoutOptions, _ pictures: Pictures, _ printer: StandardOutput
    ) throws -> UInt64 {
        let style = colors.style
        let file = inspected.file
        try printer.write(lines: "\(printable(image)): \(inspected.format.rawValue), \(counted(file.size, "byte"))\n")
        for note in inspected.notes { try printer.write(lines: "(\(note))\n", hanging: 1) }
        let text = LayoutText(style) { (line) throws(ImageError) in try printer.write(line) }
        try inspected.list(to: text, options)
        let (map, pageFaults) = try draw(inspected, pictures)
        if let map, graph { try printer.write("\n\(map.text(style))") }
        if text.faultCount > 0 {
            try printer.write("\n\(counted(text.faultCount, "fault")), marked !!\n")
        }
        return max(text.faultCount, pageFaults) + (map?.hasFaults == true ? 1 : 0)
    }

    private func showJSON(
        _ inspected: InspectedImage, _ options: LayoutOptions, _ pictures: Pictures, _ printer: StandardOutput
    ) throws -> UInt64 {
        var pageFaults: UInt64 = 0
        let faults = try inspected.writeJSON(
            named: image, options, showsUse: graph,
            hostMap: {
                let (map, faults) = try draw(inspected, pictures)
                pageFaults = faults
                return map
            },
            to: { (part) throws(ImageError) in try printer.write(part) })
        return max(faults, pageFaults)
    }

    /// What the parts of the file are used for, where that was asked for, and how many things are wrong in what the page
    /// shows; the picture and the page of it are written.
    private func draw(_ inspected: InspectedImage, _ pictures: Pictures) throws -> (HostMap?, faults: UInt64) {
        guard graph || pictures.svg != nil || pictures.html != nil else { return (nil, 0) }
        let bar = ProgressBar("looking at what the file is used for", total: inspected.file.size)
        defer { bar.hide() }
        let map = try inspected.pictureMap(forPage: pictures.html != nil) { bar.update($0) }
        let name = FilePath(text: image).lastComponent.map { FilePath(root: nil, [$0]).text } ?? image
        if let svg = pictures.svg { try svg.write(map.svg(title: "\(name) (\(inspected.format.rawValue))")) }
        guard let html = pictures.html else { return (map, 0) }
        let page = try inspected.page(named: name, map)
        try html.write(page.html)
        return (map, page.faultCount)
    }
}
