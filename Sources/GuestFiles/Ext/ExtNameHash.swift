// The hashes of names in indexes of directories, as Linux has them (fs/ext4/hash.c): they are part of the format.

/// The hash of `name`; nil for a version that is not known. `seed` are four words, of which all being 0 stands for a set of their
/// own; `isUnsigned` says how the three older versions take bytes above 127.
func extNameHash(of name: [UInt8], version: UInt8, seed: [UInt32], isUnsigned: Bool) -> UInt32? {
    let kind = version > 2 ? version - 3 : version
    guard version < 6 else { return nil }
    let letters = name.map { byte in
        version > 2 || isUnsigned ? UInt32(byte) : UInt32(bitPattern: Int32(Int8(bitPattern: byte)))
    }
    var state: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]
    if seed.contains(where: { $0 != 0 }) { state = seed }
    var hash: UInt32
    switch kind {
    case 0: hash = oldHash(letters)
    case 1:
        for start in stride(from: 0, to: letters.count, by: 32) { halfMD4(&state, words(letters[start...], 8)) }
        hash = state[1]
    default:
        for start in stride(from: 0, to: letters.count, by: 16) { tinyEncryption(&state, words(letters[start...], 4)) }
        hash = state[0]
    }
    hash &= ~1
    // That number stands for the end of a directory.
    return hash == 0xffff_fffe ? 0xffff_fffc : hash
}

private func oldHash(_ letters: [UInt32]) -> UInt32 {
    var (last, before): (UInt32, UInt32) = (0x12a3_fe2d, 0x37ab_e8f9)
    for letter in letters {
        var hash = before &+ (last ^ (letter &* 7_152_373))
        if hash & 0x8000_0000 != 0 { hash &-= 0x7fff_ffff }
        (before, last) = (last, hash)
    }
    return last << 1
}

/// The next letters in `count` words of four, filled up with how many there are.
private func words(_ letters: ArraySlice<UInt32>, _ count: Int) -> [UInt32] {
    let length = UInt32(truncatingIfNeeded: letters.count)
    var fill = length | length << 8
    fill |= fill << 16
    var result: [UInt32] = []
    var word = fill
    for (index, letter) in letters.prefix(count * 4).enumerated() {
        word = letter &+ word << 8
        if index % 4 == 3 {
            result.append(word)
            word = fill
        }
    }
    if result.count < count { result.append(word) }
    while result.count < count { result.append(fill) }
    return result
}

/// One turn of MD4 with half of its input.
private func halfMD4(_ state: inout [UInt32], _ input: [UInt32]) {
    var (a, b, c, d) = (state[0], state[1], state[2], state[3])
    func turn(_ function: (UInt32, UInt32, UInt32) -> UInt32, _ added: UInt32, _ order: [Int], _ shifts: [UInt32]) {
        for (index, place) in order.enumerated() {
            let sum = a &+ function(b, c, d) &+ input[place] &+ added
            let shift = shifts[index % 4]
            (a, b, c, d) = (d, sum << shift | sum >> (32 - shift), b, c)
        }
    }
    turn({ x, y, z in z ^ (x & (y ^ z)) }, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19])
    turn({ x, y, z in (x & y) &+ ((x ^ y) & z) }, 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13])
    turn({ x, y, z in x ^ y ^ z }, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15])
    state = [state[0] &+ a, state[1] &+ b, state[2] &+ c, state[3] &+ d]
}

/// The Tiny Encryption Algorithm.
private func tinyEncryption(_ state: inout [UInt32], _ input: [UInt32]) {
    var (first, second, sum): (UInt32, UInt32, UInt32) = (state[0], state[1], 0)
    for _ in 0..<16 {
        sum &+= 0x9e37_79b9
        first &+= ((second << 4) &+ input[0]) ^ (second &+ sum) ^ ((second >> 5) &+ input[1])
        second &+= ((first << 4) &+ input[2]) ^ (first &+ sum) ^ ((first >> 5) &+ input[3])
    }
    state[0] &+= first
    state[1] &+= second
}
