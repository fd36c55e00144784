import ArgumentParser
import Arguments
import FormatCore
import Overlays

extension OverlayOptions {
    /// How disks are written over. Throws wrong usage.
    func settings() throws -> OverlaySettings {
        do throws(OptionFault) {
            return try OverlaySettings(
                options: overlayOptions, allowsPlaintext: overlayPlaintext, takesLocks: !locking.noLock)
        } catch {
            throw ValidationError("--overlay-options: \(error.message)")
        }
    }

    /// Takes an option of `-o`; answers false for one that is none of these.
    mutating func take(_ name: String, _ value: String?) -> Bool {
        switch (name, value) {
        case ("overlay_options", let value?): overlayOptions.append(value)
        case ("overlay_plaintext", nil): overlayPlaintext = true
        case ("no_lock", nil): locking.noLock = true
        default: return false
        }
        return true
    }
}
