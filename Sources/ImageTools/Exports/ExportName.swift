import BlockImage

/// What clients call the file `name`: its text, in which bytes that are not UTF-8 are written as `\xfc`. The protocols have
/// Unicode only (NBD, "String values"; RFC 8259, section 8.1).
///
/// Where such a text is the name of another file, as a whole or up to a slash, the caller tells them apart.
func exportName(_ name: [UInt8]) -> String {
    let text = nameText(name)
    return text.hasRawBytes ? printable(text) : text
}
