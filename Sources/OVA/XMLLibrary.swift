import CExpat

/// The library that reads XML.
package enum XMLLibrary {
    /// Its name and version.
    package static var version: String {
        let version = XML_ExpatVersionInfo()
        return "libexpat \(version.major).\(version.minor).\(version.micro)"
    }
}
