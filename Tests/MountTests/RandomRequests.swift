import Foundation
import HostTools
import TestImages

/// Random requests to files of a mount, and the same to a plain file: what both then have must be the same.
struct RandomRequests {
    /// A range of a disk that is reached through a file.
    struct Target {
        /// The file: `disk.raw`, or a partition.
        var path: String
        /// Where the range begins in the file.
        var offset = 0
        /// Where it begins in the model, which is a file with all of the disk.
        var offsetInModel = 0
        /// How many bytes it has.
        var size: Int
        /// Whether it can be mapped, for writing.
        var isMapped = true
    }

    /// The plain file.
    var model: String
    var targets: [Target]

    /// Makes `count` requests that follow from `seed`, and answers what was wrong.
    func run(_ count: Int, seed: UInt64) throws -> String {
        let list = targets.map {
            "(\"\($0.path)\", \($0.offset), \($0.offsetInModel), \($0.size), \($0.isMapped ? 1 : 0))"
        }
        return try Python.run(
            Self.program, model, "[\(list.joined(separator: ", "))]", "\(count)", "\(seed)", timeout: 1800)
    }

    private static let program = """
        import ast
        rand = random.Random(int(sys.argv[4])); model = os.open(sys.argv[1], os.O_RDWR); said = []
        page = mmap.mmap(-1, 1 << 20)
        class File:
            def __init__(self, path, start, base, size, mapped):
                self.path, self.start, self.base, self.size, self.mapped = path, start, base, size, mapped; self.open()
            def open(self):
                self.plain = os.open(self.path, os.O_RDWR); self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)
            def close(self): os.close(self.plain); os.close(self.direct)
        def fallocate(f, mode, at, count):
            if libc.fallocate(f, mode, ctypes.c_long(at), ctypes.c_long(count)) != 0:
                raise OSError(ctypes.get_errno(), 'fallocate')
        files = [File(*each) for each in ast.literal_eval(sys.argv[2])]
        mappable = [file for file in files if file.mapped]
        def same(what, got, at):
            expected = os.pread(model, len(got), at)
            if got != expected:
                first = next(n for n in range(len(got)) if got[n] != expected[n])
                wrong = sum(1 for n in range(len(got)) if got[n] != expected[n])
                print('%s: %d of %d bytes are wrong, the first at %d: %r, not %r' %
                    (what, wrong, len(got), at + first, got[first:first + 16], expected[first:first + 16]))
                sys.exit()
        kinds = ['write'] * 5 + ['read'] * 4 + ['direct', 'direct', 'read direct', 'punch', 'zero', 'map', 'read map',
            'fsync', 'fdatasync', 'refused', 'reopen', 'forget', 'hole', 'beside']
        for turn in range(int(sys.argv[3])):
            do = rand.choice(kinds); file = rand.choice(mappable if 'map' in do else files)
            count = min(rand.choice([1, 100, 512, 2048, 4096, 65536, 131072, 300000]), file.size)
            at = rand.randrange(file.size - count + 1)
            if rand.random() < 0.3: at = min(at // 65536 * 65536, file.size - count)
            if 'direct' in do:
                count = (count + 511) // 512 * 512; at = min(at // 512 * 512, (file.size - count) // 512 * 512)
            here, there = file.start + at, file.base + at
            what = '%d: %s of %d at %d of %s' % (turn, do, count, here, file.path)
            data = rand.randbytes(count)
            try:
                if do == 'write':
                    is_(what, os.pwrite(file.plain, data, here), count); os.pwrite(model, data, there)
                elif do == 'direct':
                    page[:count] = data
                    is_(what, os.pwritev(file.direct, [memoryview(page)[:count]], here), count)
                    os.pwrite(model, data, there)
                elif do in ('punch', 'zero'):
                    fallocate(file.plain, 3 if do == 'punch' else 17, here, count); os.pwrite(model, bytes(count), there)
                elif do == 'map':
                    m = mmap.mmap(file.plain, file.start + file.size); m[here:here + count] = data; m.flush(); m.close()
                    os.pwrite(model, data, there)
                elif do == 'read map':
                    m = mmap.mmap(file.plain, file.start + file.size, prot=mmap.PROT_READ)
                    same(what, m[here:here + count], there); m.close()
                elif do == 'read': same(what, os.pread(file.plain, count, here), there)
                elif do == 'read direct':
                    is_(what, os.preadv(file.direct, [memoryview(page)[:count]], here), count)
                    same(what, page[:count], there)
                elif do == 'fsync': os.fsync(file.plain)
                elif do == 'fdatasync': os.fdatasync(file.direct)
                elif do == 'refused':
                    is_(what, says(os.ftruncate, file.plain, here), 'EPERM')
                    is_(what, says(os.truncate, file.path, 1 << 40), 'EPERM')
                    is_(what, says(os.pwrite, file.plain, data, os.path.getsize(file.path)), 'ENOSPC')
                elif do == 'reopen': file.close(); file.open()
                elif do == 'forget': os.posix_fadvise(file.plain, 0, 0, os.POSIX_FADV_DONTNEED)
                elif do == 'hole':
                    hole = os.lseek(file.plain, here, os.SEEK_HOLE)
                    try: end = os.lseek(file.plain, hole, os.SEEK_DATA)
                    except OSError: end = file.start + file.size
                    end = min(end, hole + (1 << 20), file.start + file.size)
                    if hole < end: same(what, bytes(end - hole), hole - file.start + file.base)
                else:
                    # A page of the whole disk that memory has changed, and then bytes of it through another file.
                    whole = files[0]; where = there - whole.base + whole.start
                    m = mmap.mmap(whole.plain, whole.start + whole.size); m[where:where + 1] = data[:1]
                    os.pwrite(model, data[:1], there)
                    if count > 1: is_(what, os.pwrite(file.plain, data[1:], here + 1), count - 1)
                    os.pwrite(model, data, there); m.flush(); m.close()
                    same(what, os.pread(file.plain, count, here), there)
                    same(what, os.pread(whole.plain, count, where), there)
            except OSError as e:
                print(what, e); sys.exit()
        for file in files: file.close()
        """
}
