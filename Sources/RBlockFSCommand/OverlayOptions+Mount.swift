import Arguments

extension OverlayOptions {
    /// Takes an option of `-o`; answers false for one that is none of these.
    mutating func take(_ name: String, _ value: String?) -> Bool {
        guard (name, value) == ("overlay_plaintext", nil) else { return false }
        overlayPlaintext = true
        return true
    }
}
