import BlockImage
import Catalog
import ImageFormats
import ImageTools
import JSON
import Reports

/// What is asked of images as such: which there are, and what they are.
extension Method {
    static let list = Method(
        name: "list", summary: "Lists the disks that are served: images, their snapshots, their partitions.",
        result: "Objects with a name, and a size in bytes or an error", resultType: "array", isLong: true,
        isBounded: true
    ) { call in
        let listed: [ExportCatalog.Entry]
        do throws(ImageError) { listed = try call.session.server.catalog.list() } catch {
            throw call.session.error(error)
        }
        let entries = try listed.map { entry in
            var members: [String: JSON] = ["name": .string(entry.name), "summary": .string(entry.summary)]
            switch entry.size {
            case .success(let size): members["size"] = .count(size)
            case .failure(let error):
                members["error"] = try JSON(
                    parsing: Array(errorText(error, naming: call.session.server.catalog.paths).utf8))
            }
            return JSON.object(members)
        }
        return JSON.array(entries).text
    }

    static let open = Method(
        name: "open",
        summary:
            "Holds a disk open as it is now, until it is closed or the connection ends; others need not be opened.",
        parameters: [.image], result: "The name, format and size of the disk, and notes where a check found it damaged"
    ) { call in
        let export = try call.session.open(call.arguments.string(.image))
        var members: [String: JSON] = [
            "image": .string(export.name), "format": .string(export.opened.layers.first?.format.rawValue ?? "raw"),
            "size": .count(export.image.virtualSize),
        ]
        let notes = (try? call.namedImage())?.image.manifestNotes() ?? []
        if !notes.isEmpty {
            members["notes"] = .array(notes.map { .string($0.text(naming: call.session.server.catalog.paths)) })
        }
        return JSON.object(members).text
    }

    static let close = Method(
        name: "close", summary: "Holds a disk open no more; without a name, every disk that this connection has open.",
        parameters: [.image], result: "How many disks were closed", resultType: "integer",
        readsImages: false
    ) { call in
        "\(call.session.close(call.arguments.string(.image)))"
    }

    private static let chain = Parameter(
        name: "backing-chain", kind: .flag, summary: "Whether to tell of the images under it as well, as an array")
    private static let allocation = Parameter(
        name: "allocation", kind: .flag, summary: "Whether to count how the disk is stored")

    static let info = Method(
        name: "info", summary: "Tells what an image is: what 'rblock info' prints as JSON.",
        parameters: [.image, chain, allocation], result: "The report; with backing-chain an array of reports",
        isLong: true
    ) { call in
        let wholeChain = call.arguments.flag(chain)
        let (name, image) = try call.namedImage()
        var reports = image.reports(chain: wholeChain, allocation: call.arguments.flag(allocation))
        let paths = call.session.server.catalog.paths
        for index in reports.indices {
            // The bytes of a name that is not UTF-8 come from there, too.
            reports[index].rename(index == 0 ? name : paths.name(of: reports[index].filename))
        }
        return wholeChain
            ? try jsonLine(reports, naming: paths) : try jsonLine(reports[0], naming: paths)
    }

    private static let entries = Parameter(
        name: "l2", kind: .flag, summary: "Whether to list the entries of the second tables too: L2, grain tables")
    private static let limit = Parameter(
        name: "limit", kind: .count(), summary: "The most entries of each kind of table; 10000 where it is left out")
    private static let use = Parameter(
        name: "graph", kind: .flag, summary: "Whether to tell what the parts of the file are used for")

    static let inspect = Method(
        name: "inspect",
        summary: "Tells how an image file is laid out, field by field: what 'rblock inspect' prints as JSON.",
        parameters: [.image, entries, limit, use], result: "The structures of the file, and the faults in them",
        isLong: true, answerSize: .long
    ) { call in
        let (name, named) = try call.namedImage()
        let options = LayoutOptions(
            showsEntries: call.arguments.flag(entries), entryLimit: call.arguments.count(limit) ?? 10_000)
        let inspected = try InspectedImage(named)
        var line = JSONLine()
        var failure: RPCError?
        // What a layout tells is taken by closures that throw errors of images only.
        func write(_ piece: String) throws(ImageError) {
            do throws(RPCError) {
                try call.request.checkWanted()
                try line.append(piece)
            } catch {
                failure = error
                throw ImageError(.outOfRange, about: .named(name), "\(error.message)")
            }
        }
        let showsUse = call.arguments.flag(use)
        do {
            _ = try inspected.writeJSON(
                named: name, options, showsUse: showsUse, naming: call.session.server.catalog.paths,
                hostMap: {
                    guard showsUse else { return nil }
                    return try inspected.hostMap(cellLimit: HostMap.pictureCellLimit) {
                        call.request.report(Double($0) / Double(max(1, inspected.file.size)))
                    }
                }, to: write)
        } catch {
            throw failure ?? error
        }
        return line.text
    }

    private static let data = Parameter(
        name: "data", kind: .flag, summary: "Whether to read all data of the disk that the image stores as well")
    private static let force = Parameter(
        name: "force-share", kind: .flag, summary: "Whether to check an image that another program is writing to")

    static let check = Method(
        name: "check",
        summary: "Checks whether the structures of an image fit together: what 'rblock check' prints as JSON.",
        parameters: [.image, data, force], result: "What was counted and found", isLong: true
    ) { call in
        let (name, named) = try call.namedImage()
        let report = try named.checkReport(
            readsData: call.arguments.flag(data), force: call.arguments.flag(force)
        ) { call.request.report($0) }
        guard var report else {
            throw RPCError(
                .unsupported, "\(name): the format has nothing to check; \"data\": true reads it")
        }
        report.filename = name
        return try jsonLine(report, naming: call.session.server.catalog.paths)
    }
}
