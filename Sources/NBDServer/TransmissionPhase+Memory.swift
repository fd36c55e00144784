import AccessLog
import Catalog
import NIOCore

/// The memory that answers take.
extension TransmissionPhase {
    /// How long a client who takes nothing keeps memory that others wait for.
    private static let stallLimit = TimeAmount.seconds(10)

    /// Takes the memory of an answer, or a piece of one, of `bytes`, or with `orLess` of fewer where that must do; nil where
    /// it has to wait. A connection that has nothing under way never waits: what must be one piece is its own then.
    func takeMemory(_ bytes: UInt64, orLess: Bool = true) -> Load? {
        var load = Load(bytes: bytes)
        if underWay.bytes + bytes > Serving.ownReplySize {
            if takeShared(bytes) {
                load.shared = bytes
                hadMuch = true
            } else if underWay.bytes == 0 {
                if orLess { load.bytes = Serving.ownReplySize }
            } else {
                return nil
            }
        }
        underWay.bytes += load.bytes
        underWay.shared += load.shared
        return load
    }

    private func takeShared(_ bytes: UInt64) -> Bool {
        guard granted < bytes else {
            giveBackGranted(but: bytes)
            return true
        }
        // Those that wait come first.
        return !serving.replies.isWaitedFor && serving.replies.take(bytes)
    }

    private func giveBackGranted(but used: UInt64 = 0) {
        let left = granted - used
        granted = 0
        serving.replies.giveBack(left)
    }

    /// Counts a write until the kernel has taken it. A client who takes nothing is closed where others wait for memory.
    func noteUnsent(_ promise: EventLoopPromise<Void>, _ context: ChannelHandlerContext) {
        unsent += 1
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        promise.futureResult.whenComplete { result in
            let phase = bound.value.0
            phase.unsent -= 1
            if case .failure(let error) = result, let fault = connectionFault(error) { phase.record.noteEnding(fault) }
        }
        guard stallCheck == nil, hadMuch else { return }
        stallCheck = context.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(2), delay: .seconds(2)) { _ in
            let (phase, context) = bound.value
            guard phase.unsent > 0, phase.underWay.shared > 0, phase.serving.replies.isWaitedFor,
                phase.activity.idleTime > Self.stallLimit
            else { return }
            phase.record.noteEnding("the client takes no answers, and others wait for the memory")
            context.close(promise: nil)
        }
    }

    /// Gives back what `load` has of what all share, and keeps the rest of it.
    func giveBack(_ load: inout Load) {
        guard !isGone else { return }
        serving.replies.giveBack(load.shared)
        underWay.shared -= load.shared
        load.shared = 0
    }

    /// An answer was handed to the kernel.
    func release(_ load: Load) {
        activity.note()
        record.count(bytesRead: load.read)
        var load = load
        giveBack(&load)
        underWay.bytes -= load.bytes
        underWay.requests -= load.requests
    }

    /// Keeps an answer that has to wait for `bytes` of memory.
    func hold(_ answer: HeldAnswer, for bytes: UInt64, _ context: ChannelHandlerContext) {
        held.append(answer)
        guard !isWaitingForMemory else { return }
        isWaitingForMemory = true
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        serving.replies.reserve(bytes) { [serving] taken in
            loop.execute {
                let (phase, context) = bound.value
                phase.isWaitingForMemory = false
                guard context.channel.isActive, !phase.isGone else { return serving.replies.giveBack(taken) }
                phase.granted = taken
                phase.goOn(context, resuming: true)
                phase.giveBackGranted()
            }
        }
    }

    func resumeHeld(_ context: ChannelHandlerContext) {
        let answers = held
        held = []
        for answer in answers {
            switch answer {
            case .read(let reply): advance(reply, context)
            case .status(let request): answerStatus(request, context)
            }
        }
    }
}
