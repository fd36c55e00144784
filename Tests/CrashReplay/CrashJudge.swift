/// What says of a state whether it is one that a power cut may leave.
package protocol CrashJudge: Sendable {
    /// How many flushes hold for `state`: of two states with the same content, the one with more may be wrong alone.
    func flushCount(_ state: CrashState) -> Int
    /// What is wrong with `state`; empty: nothing. `writes`: how many random operations go on from it, if that can be,
    /// after which it is judged again.
    func complaints(_ state: CrashState, writes: Int, seed: UInt64) -> [String]
}
