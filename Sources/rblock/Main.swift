import RBlockCommand

/// The program `rblock`.
@main
enum Program {
    static func main() { CommandProgram.main() }
}
