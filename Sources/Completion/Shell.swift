import BlockImage

/// A shell that completes words.
enum Shell: String {
    case bash, zsh, fish

    /// What bash takes for something else than itself.
    private static let bashMarks = " \t\\'\"`$&;|<>(){}[]*?!#~^".unicodeScalars

    /// `answer` as the script of the shell takes it: a line of what names of files the word may be, and from which character
    /// on; then a line for each word, and behind a tab what it means.
    ///
    /// bash replaces only `part`, what stands behind the last `=`, `:` or `@` of the word, and inserts words as they are, so that
    /// they have their backslashes here. Behind an open quote readline takes the quote away where it inserts all words, and
    /// writes it again only for names of files, which it quotes itself: then the first line begins with `names`. Without an
    /// open quote it would leave each `$` of a name as it is.
    func text(of answer: Completer.Answer, line: String, part: String?) -> String {
        var kind = answer.files.rawValue
        var lines: [String] = []
        switch self {
        case .bash:
            guard let word = TypedWord.words(of: line).last else { break }
            let replaced = TypedWord.words(of: part ?? "").last?.text ?? ""
            let kept = word.text.unicodeScalars.count - replaced.unicodeScalars.count
            lines = answer.words.map { String($0.text.unicodeScalars.dropFirst(max(0, kept))) }
            if word.openQuote == nil {
                lines = lines.map { Self.escaped($0) }
            } else if !lines.isEmpty {
                // A name that begins so would become that of the home folder.
                lines.removeAll { $0.hasPrefix("~") }
                kind = "names"
            }
        case .zsh, .fish:
            // What it means is one line, and a sentence at most.
            lines = answer.words.map { text, meaning in
                let end = meaning.utf8.place(of: ". ".utf8)?.lowerBound ?? meaning.endIndex
                return meaning.isEmpty ? text : "\(text)\t\(meaning[..<end].filter { $0 != "\n" })"
            }
        }
        return (["\(kind) \(answer.fileStart)"] + lines).joined(separator: "\n") + "\n"
    }

    /// `word` with backslashes, as bash takes it for itself. By scalars: an accent behind a mark makes one character of both.
    private static func escaped(_ word: String) -> String {
        var text = String.UnicodeScalarView()
        for letter in word.unicodeScalars { text += bashMarks.contains(letter) ? ["\\", letter] : [letter] }
        return String(text)
    }

    /// The script that has the shell ask the program `name`.
    func script(for name: String) -> String {
        switch self {
        case .bash: Self.bashScript.replacing(text: "NAME", with: name)
        case .zsh: Self.zshScript.replacing(text: "NAME", with: name)
        case .fish: Self.fishScript.replacing(text: "NAME", with: name)
        }
    }

    private static let bashScript = """
        # Completes NAME in bash: the program says what a word may be.
        _NAME() {
            local -a answer
            mapfile -t answer < <(
                "${1/#\\~\\//$HOME/}" ---complete bash "${COMP_LINE::COMP_POINT}" "${COMP_LINE:COMP_POINT}" "$2" 2>/dev/null)
            COMPREPLY=("${answer[@]:1}")
            case ${answer[0]} in
            files*) compopt -o default ;;
            directories*) compopt -o dirnames ;;
            names*) compopt -o filenames ;;
            esac
            if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
        }
        complete -F _NAME NAME

        """

    private static let zshScript = #"""
        #compdef NAME
        # Completes NAME in zsh: the program says what a word may be.
        _NAME() {
            local -a answer texts shown open
            local line
            answer=("${(@f)$("${words[1]/#\~\//$HOME/}" ---complete zsh \
                "${(j: :)words[1,CURRENT-1]} ${QIPREFIX}${IPREFIX}${PREFIX}" \
                "${(j: :)words[CURRENT+1,-1]}" 2>/dev/null)}")
            for line in "${(@)answer[2,-1]}"; do
                if [[ ${line%%$'\t'*} == *= ]]; then
                    open+=("${line%%$'\t'*}")
                else
                    texts+=("${line%%$'\t'*}")
                    line="${(r:24:)line%%$'\t'*} ${line#*$'\t'}"
                    shown+=("${line[1,COLUMNS-1]}")
                fi
            done
            local -i ret=1
            (( $#open )) && compadd -S '' -a open && ret=0
            if [[ $answer[2] == *$'\t'* ]]; then
                compadd -V NAME -l -d shown -a texts && ret=0
            elif (( $#texts )); then
                compadd -V NAME -a texts && ret=0
            fi
            case $answer[1] in
            files*) compset -p ${answer[1]#* }; _files && ret=0 ;;
            directories*) compset -p ${answer[1]#* }; _files -/ && ret=0 ;;
            esac
            return ret
        }
        if [[ $funcstack[1] == _NAME ]]; then _NAME "$@"; else compdef _NAME NAME; fi

        """#

    private static let fishScript = """
        # Completes NAME in fish: the program says what a word may be.
        function __NAME_complete
            set -l program (string replace -r '^~/' "$HOME/" -- (commandline -opc)[1])
            set -l before (commandline -cp | string collect)
            set -l after (commandline -p | string collect | string sub -s (math 1 + (string length -- "$before")) | string collect)
            set -l answer ($program ---complete fish "$before" "$after" 2>/dev/null)
            set -l start (string replace -r '.* ' '' -- "$answer[1]")
            set -l token (commandline -ct)
            set -l fixed (string sub -l "$start" -- "$token")
            set -l path (string sub -s (math 1 + "$start") -- "$token")
            switch "$answer[1]"
                case 'files*'
                    for name in (__fish_complete_path "$path")
                        printf '%s%s\\n' "$fixed" "$name"
                    end
                case 'directories*'
                    for name in (__fish_complete_directories "$path" '')
                        printf '%s%s\\n' "$fixed" "$name"
                    end
            end
            if set -q answer[2]
                printf '%s\\n' $answer[2..]
            end
        end
        complete -c NAME -f -k -a '(__NAME_complete)'

        """
}
