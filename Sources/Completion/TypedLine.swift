/// What stands on a command line in front of the word that is completed.
struct TypedLine {
    /// The words, without the option whose value is completed.
    private(set) var words: [String]
    /// The words that stand behind the cursor.
    var after: [String] = []
    /// The options that were given, as they were written.
    private(set) var given: [String] = []
    /// The option whose value comes next.
    private(set) var pending: CommandArguments.Argument?
    /// How many arguments without names there are.
    private(set) var count = 0
    /// Which of the arguments without names is completed, where one is.
    var place = 0
    /// Whether `--` was written: there are no options behind it.
    private(set) var isOver = false

    /// What `typed`, behind the verb, means to a command that takes `arguments`.
    init(_ typed: ArraySlice<TypedWord>, _ arguments: CommandArguments) {
        words = typed.map(\.expanded)
        for word in words {
            if pending != nil {
                pending = nil
            } else if isOver || word == "-" || !word.hasPrefix("-") {
                count += 1
            } else if word == "--" {
                isOver = true
            } else {
                let name = word.hasPrefix("--") ? word.prefix { $0 != "=" } : word[...]
                given.append(String(name))
                guard name == word[...] else { continue }
                pending = arguments.all.first { $0.kind == .option && $0.isCalled(name) }
            }
        }
        if pending != nil { words.removeLast() }
    }
}
