import BlockImage
import FormatCore
import HostStorage

/// Which format a file is taken for, and what people should know of that.
public struct Recognition: Sendable {
    /// The format.
    public let format: ImageFormat
    /// That the content says something else than the name, or that nothing but the content of a device says it.
    public let notes: [ErrorText]

    /// Looks at `file`, which is `named` by something else than its content; nil: only the content says what it is.
    /// `isSaid`: whether a person said it, who knows. `under`: for a file that another image names, the command by which
    /// that image says that it is raw, and an empty text where it cannot; nil: a person names the file, and its format.
    ///
    /// Throws `unsupported` for what neither a name nor an option calls a disk, and is something else by its content: it is never a raw disk by
    /// itself.
    public init(_ file: any HostFile, named: ImageFormat?, isSaid: Bool = false, under: String? = nil)
        throws(ImageError)
    {
        guard let named else {
            self = try Self(contentOf: file, under: under)
            return
        }
        // A name with a number is no more than that.
        if !isSaid, named.driver.imageName == nil, named != .raw, let name = Self.contentName(of: file, besides: named)
        {
            throw ImageError(
                .unsupported, path: file.path,
                "holds \(name), by its content, and is called the first part of a raw disk",
                hint: "--format \(named.rawValue) has it read as that")
        }
        format = isSaid ? named : named.ofContent(of: file)
        guard named == .raw, !isSaid, let name = Self.contentName(of: file, besides: .raw) else {
            notes = []
            return
        }
        notes = ["\(path: file.path): holds \(name), by its content; it is read as the raw disk that it is called"]
    }

    private init(contentOf file: any HostFile, under: String?) throws(ImageError) {
        let isDevice = file is DeviceFile
        let found: ImageFormat
        let foreign: ForeignContent?
        do throws(ImageError) {
            found = try ImageFormat.probe(file)
            foreign = found == .raw ? try ForeignContent(of: file) : nil
        } catch {
            // What cannot be read of a device is lost, and not the rest of it.
            guard isDevice, case .system = error.code else { throw error }
            format = .raw
            notes = ["\(path: file.path): its first bytes cannot be read, so that it is taken for a raw disk"]
            return
        }
        if let foreign, !(isDevice && foreign.isVolume) { throw Self.refusal(of: file, foreign, under: under) }
        format = found
        guard isDevice, let name = foreign?.name ?? found.driver.imageName else {
            notes = []
            return
        }
        notes = [
            found == .raw
                ? "\(path: file.path): the device holds \(name), which is read as it is stored"
                : "\(path: file.path): the device holds \(name), and is read as that\(hint: "; --format raw reads the device itself")"
        ]
    }

    /// Looks at `file`, which is called an image of the format of `driver`, is none, and is no part of another: nil unless its
    /// name makes it the flat extent of one, which is the whole disk, as far as anybody knows. Throws where it cannot be read.
    public init?(flatExtent file: any HostFile, of driver: any SplitFormat) throws(ImageError) {
        guard driver.isFlatExtent(file), try ImageFormat.probe(file) == .raw, try ForeignContent(of: file) == nil
        else { return nil }
        format = .raw
        notes = [
            "\(path: file.path): no descriptor beside it names this flat extent, so that it is read as a raw disk; what was "
                + "written to snapshots later is not in it"
        ]
    }

    private static func refusal(of file: any HostFile, _ foreign: ForeignContent, under: String?) -> ImageError {
        let other = file is DeviceFile ? "" : ", or the extension .raw,"
        let remedy =
            switch under {
            case nil: "--format raw\(other) has its bytes read as those of a disk"
            case "": nil as String?
            case let command?: "if it is a raw disk, the image that names it must say so (\(command))"
            }
        let advice = [foreign.advice, remedy].compactMap(\.self)
        return ImageError(
            .unsupported, path: file.path, "holds \(foreign.name), by its content, and no disk that is read here",
            hint: advice.isEmpty ? nil : advice.joined(separator: "; "))
    }

    /// What the content of `file` says that it is; nil where that is `format`, or it says nothing.
    static func contentName(of file: any HostFile, besides format: ImageFormat) -> String? {
        guard let found = try? ImageFormat.probe(file) else { return nil }
        let foreign = (try? ForeignContent(of: file)) ?? nil
        if let foreign, found == .raw { return foreign.name }
        return found == format ? nil : found.driver.imageName
    }

    /// What is wrong with `file`, which was to be of `format`, and `error` is why that failed: what it is by its content is
    /// said as well. `isNamed`: whether a person, or its own name, said the format.
    static func error(
        _ error: ImageError, of file: any HostFile, as format: ImageFormat, isNamed: Bool
    ) -> ImageError {
        if error.subject == .file(file.path), file.size == 0, [.corrupt, .truncated, .unsupported].contains(error.code)
        {
            return ImageError(error.code, path: file.path, "is empty, and no image")
        }
        guard error.subject == .file(file.path), let name = contentName(of: file, besides: format) else { return error }
        guard format.driver.mayBeOtherFormat(error, file) else { return error }
        var error = error
        error.detail += "; by its content it is \(name)"
        if let advice = ((try? ForeignContent(of: file)) ?? nil)?.advice {
            error.hint = advice
        } else if isNamed, let found = try? ImageFormat.probe(file), found != .raw, found != format {
            error.hint = "--format \(found.rawValue), or the extension .\(found.rawValue), has it read as that"
        }
        return error
    }
}
