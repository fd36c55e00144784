import JSON
import TestImages
import Testing

@testable import Catalog
@testable import ControlRPC
@testable import ImageTools

struct `Errors that clients of JSON-RPC get` {
    @Test func `have neither paths of the host nor options`() {
        let paths = HostPaths(below: ["/images"])
        for error in HostErrors.all {
            let told = RPCError(error, naming: paths).json.text
            #expect(HostErrors.areHidden(in: told), "\(error): \(told)")
        }
    }
}
