import ArgumentParser
import Sockets

extension ListenAddress: ExpressibleByArgument {
    /// See `init(_:)`.
    public init?(argument: String) { self.init(argument) }
}

/// Where JSON-RPC is spoken.
enum RPCAddress: ExpressibleByArgument, CustomStringConvertible {
    case socket(ListenAddress)
    /// Standard input and output.
    case standardStreams

    init?(argument: String) {
        if argument == "stdio" {
            self = .standardStreams
        } else if let address = ListenAddress(argument) {
            self = .socket(address)
        } else {
            return nil
        }
    }

    var description: String {
        switch self {
        case .socket(let address): "\(address)"
        case .standardStreams: "stdio"
        }
    }
}
