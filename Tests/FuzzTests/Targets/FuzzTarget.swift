import BlockImage
import ByteFormat
import ImageFormats
import NIOCore
import OVA
import PartitionTable
import TestImages

@testable import Catalog
@testable import ControlRPC
@testable import Encryption
@testable import ImageTools
@testable import LVM
@testable import NBDServer

/// What bytes of strangers are fed to: a parser or a format, from the first byte to what people do with the result.
///
/// The fuzzer (`make fuzz`) and the tests run the same ones. None of them may trap, whatever the bytes are; errors are
/// what is expected.
enum FuzzTarget: String, CaseIterable, Sendable {
    /// QCOW2: opening, reading, its snapshots, allocation, `check`, `inspect`.
    case qcow2
    /// QCOW of version 1.
    case qcow1
    /// QED.
    case qed
    /// Expanding Parallels images.
    case parallels
    /// The first segment of an EWF image.
    case ewf
    /// The text of a VMDK descriptor, and the extents that it makes up.
    case vmdkDescriptor = "vmdk-descriptor"
    /// VMDK files with grain tables: hosted sparse extents, COWD, seSparse.
    case vmdkSparse = "vmdk-sparse"
    /// streamOptimized VMDK files.
    case vmdkStream = "vmdk-stream"
    /// VHD: footers, dynamic headers, tables and bitmaps.
    case vhd
    /// VDI: headers and block maps.
    case vdi
    /// VHDX files: see `VHDXShape`.
    case vhdx
    /// The archive of an appliance with what is in it.
    case ova
    /// An OVF descriptor.
    case ovf
    /// The manifest beside it.
    case manifest
    /// MBR, EBR and GPT.
    case partitions
    /// The text of LVM's metadata, and the volumes that it makes up.
    case lvm
    /// The header of a LUKS container.
    case luks
    /// ext2, ext3 and ext4, in blocks: see `GuestShape`.
    case ext
    /// FAT12, FAT16 and FAT32, the same way.
    case fat
    /// exFAT, the same way.
    case exFAT = "exfat"
    /// ISO 9660, the same way.
    case iso
    /// What an NBD client sends, to the chosen export and behind it.
    case nbd
    /// A line of JSON-RPC.
    case rpc

    /// Whether its bytes are structures with integers at fixed places rather than text.
    var hasFixedFields: Bool {
        switch self {
        case .vmdkDescriptor, .ovf, .manifest, .lvm, .rpc: false
        case .qcow2, .qcow1, .qed, .parallels, .ewf, .vmdkSparse, .vmdkStream, .vhd, .vdi, .vhdx, .ova, .partitions,
            .luks, .ext, .fat, .exFAT, .iso, .nbd:
            true
        }
    }

    /// Runs the target on `bytes`, and answers how much of it was understood: enough to see that seeds are good ones.
    @discardableResult
    func run(_ bytes: [UInt8]) -> Int {
        switch self {
        case .qcow2, .qcow1, .qed, .parallels, .ewf, .vmdkSparse, .vmdkStream, .vmdkDescriptor, .vhd, .vdi, .vhdx:
            FuzzedImage(bytes, self).run()
        case .ova: Self.runAppliance(bytes)
        case .ovf: (try? OVFEnvelope(parsing: bytes)).map { $0.files.count + $0.disks.count } ?? 0
        case .manifest: (try? OVFManifest(parsing: bytes))?.entries.count ?? 0
        case .partitions: Self.runPartitions(bytes)
        case .lvm: Self.runLVM(bytes)
        case .luks: Self.runLUKS(bytes)
        case .ext, .fat, .exFAT, .iso: FuzzedGuest(bytes, self).run()
        case .nbd: Self.runNBD(bytes)
        case .rpc: Self.runRPC(bytes)
        }
    }

    private static func runAppliance(_ bytes: [UInt8]) -> Int {
        guard let appliance = try? Appliance(MemoryFile(bytes, path: "memory.ova"), isImage: ImageFormat.isDiskName)
        else { return 0 }
        for case .success(let file) in appliance.disks.map(\.file) {
            _ = try? file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "first bytes")
            guard file.size > 4096 else { continue }
            _ = try? file.bytes(4096, at: HostOffset(file.size - 4096), of: "last bytes")
        }
        return appliance.members.count + appliance.disks.count
    }

    private static func runPartitions(_ bytes: [UInt8]) -> Int {
        let disk = Image(layer: RawLayer(file: MemoryFile(bytes)))
        var found = 0
        for size in [nil, SectorSize.bytes512, .bytes4096] {
            let table = PartitionTable(of: disk, sectorSize: size)
            for partition in table.partitions {
                let image = partition.image(in: disk)
                _ = try? image.bytes(Int(min(image.virtualSize, 512)), at: 0)
            }
            found += table.partitions.count
        }
        return found
    }

    private static func runLVM(_ bytes: [UInt8]) -> Int {
        guard let group = try? VolumeGroup(parsing: bytes) else { return 0 }
        let disk = Image(layer: RawLayer(file: MemoryFile(Array(repeating: 0, count: 1 << 20))))
        var places: [VolumeID: Result<Image, ImageError>] = [:]
        for member in group.members { places[member.id] = .success(disk) }
        for volume in group.volumes {
            guard let image = try? group.disk(of: volume, on: places, path: "memory") else { continue }
            _ = try? image.bytes(Int(min(image.virtualSize, 4096)), at: 0)
            guard image.virtualSize > 4096 else { continue }
            _ = try? image.bytes(4096, at: image.virtualSize - 4096)
        }
        return 1 + group.volumes.count
    }

    /// Passphrases are not tried: the work of that is what the header says, up to a limit that has a test of its own.
    private static func runLUKS(_ bytes: [UInt8]) -> Int {
        var reader = ByteReader(bytes)
        guard let header = try? LUKS1Header(parsing: &reader) else { return 0 }
        return (try? header.check()) == nil ? 1 : 2
    }

    /// The first byte says in what pieces the rest comes, and the second in which form replies were negotiated.
    private static func runNBD(_ bytes: [UInt8]) -> Int {
        guard let catalog = try? ExportCatalog([]), bytes.count > 2 else { return 0 }
        let step = Int(bytes[0]) + 1
        var handshake = Handshake(catalog: catalog, tls: .allow)
        var options = OptionDecoder()
        var requests = RequestDecoder(bytes[1] & 1 == 0 ? .simple : .extended)
        var (handshakeBytes, transmissionBytes) = (ByteBuffer(), ByteBuffer())
        var understood = 0
        for start in stride(from: 2, to: bytes.count, by: step) {
            let piece = bytes[start..<min(start + step, bytes.count)]
            handshakeBytes.writeBytes(piece)
            transmissionBytes.writeBytes(piece)
            while let message = try? options.next(in: &handshakeBytes) {
                var reply = ByteBuffer()
                _ = handshake.answer(message, into: &reply)
                understood += 1
            }
            while (try? requests.next(in: &transmissionBytes)) != nil { understood += 1 }
        }
        return understood
    }

    private static func runRPC(_ bytes: [UInt8]) -> Int {
        switch RPCMessage(bytes) {
        case .single(.success): 1
        case .batch(let requests): requests.count
        case .single(.failure): 0
        }
    }
}
