import HostTools
import TestImages

extension ImageServer {
    /// A new client of JSON-RPC over the Unix socket.
    func connect() throws -> LineClient { try LineClient(unix: rpcSocket) }

    /// What `rblock rpc` leaves.
    func rpc(_ arguments: String...) throws -> ToolResult { try RBlock.run(["rpc", rpcSocket] + arguments) }
}
