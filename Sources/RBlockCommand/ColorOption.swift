import ArgumentParser
import Arguments
import Glibc
import Reports

/// What is said to verbs whose text is easier to read in colours.
struct ColorOption: ParsableArguments {
    enum When: String, ExpressibleByArgument, CaseIterable {
        case auto, always, never
    }

    @Option(
        help: ArgumentHelp(
            "Colours in the text: auto has them on a terminal, unless NO_COLOR is set, or TERM is dumb.",
            valueName: "when"))
    var color = When.auto

    /// What standard output can show: colours, and as many columns as a terminal has.
    var style: TextStyle {
        let isTerminal = isatty(STDOUT_FILENO) == 1
        let hasColours =
            switch color {
            case .always: true
            case .never: false
            // See no-color.org.
            case .auto: isTerminal && Self.variable("NO_COLOR").isEmpty && Self.variable("TERM") != "dumb"
            }
        return TextStyle(hasColours: hasColours, columns: StandardOutput.columns)
    }

    private static func variable(_ name: String) -> String {
        // Safe: getenv answers a C string, which is copied at once.
        unsafe getenv(name).map { unsafe String(cString: $0) } ?? ""
    }
}
