import NIOCore

/// The memory that answers take.
extension TransmissionPhase {
    /// Takes the memory of an answer, or a piece of one, of `bytes`, or with `orLess` of fewer where that must do; nil where
    /// it has to wait.
    func takeMemory(_ bytes: UInt64, orLess: Bool = true) -> Load? {
        var load = Load(bytes: bytes)
        if underWay.bytes + bytes > Serving.ownReplySize {
            if serving.replies.take(bytes) {
                load.shared = bytes
                hadMuch = true
            } else if underWay.bytes == 0, orLess {
                load.bytes = Serving.ownReplySize
            } else {
                return nil
            }
        }
        underWay.bytes += load.bytes
        underWay.shared += load.shared
        return load
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
        var load = load
        giveBack(&load)
        underWay.bytes -= load.bytes
        underWay.requests -= load.requests
    }

    func hold(_ answer: HeldAnswer, _ context: ChannelHandlerContext) {
        held.append(answer)
        guard !isWaitingForMemory else { return }
        isWaitingForMemory = true
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        serving.replies.whenGivenBack {
            loop.execute {
                let (phase, context) = bound.value
                phase.isWaitingForMemory = false
                if context.channel.isActive { phase.goOn(context, resuming: true) }
                if phase.held.isEmpty || phase.isGone { phase.serving.replies.callNext() }
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
