import AccessLog
import BlockImage
import Catalog
import Logging
import NIOCore

/// Gathering and flushing of answers, and the end of the connection.
extension TransmissionPhase {
    /// Adds an answer, which `load` of what is under way is for, to those that are sent together.
    func gather(_ load: Load, _ context: ChannelHandlerContext, _ write: (inout ByteBuffer) -> Void) {
        gather(
            load, context,
            ifMade: { (buffer: inout ByteBuffer) -> Bool in
                write(&buffer)
                return true
            })
    }

    /// The same of an answer that `write` may fail to make; then there is none.
    func gather(_ load: Load, _ context: ChannelHandlerContext, ifMade write: (inout ByteBuffer) -> Bool) {
        if gathered.readableBytes > 0, gathered.writableBytes < Int(load.bytes) + ReplyEncoder.headerRoom {
            sendGathered(context)
        }
        if gathered.capacity == 0 {
            gathered = context.channel.allocator.buffer(
                capacity: underWay.requests > 1 ? Self.gatheringCapacity : Int(load.bytes) + 512)
        }
        let before = gathered.writerIndex
        guard write(&gathered) else { return gathered.moveWriterIndex(to: before) }
        gatheredLoad.requests += load.requests
        gatheredLoad.bytes += load.bytes
        gatheredLoad.shared += load.shared
        gatheredLoad.read += load.read
    }

    func sendGathered(_ context: ChannelHandlerContext) {
        guard gathered.readableBytes > 0 else { return }
        let load = gatheredLoad
        let promise = context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        noteUnsent(promise, context)
        promise.futureResult.whenSuccess {
            let (phase, context) = bound.value
            phase.release(load)
            phase.goOn(context)
        }
        context.write(wrapOutboundOut(.byteBuffer(gathered)), promise: promise)
        gathered = ByteBuffer()
        gatheredLoad = Load()
        isFlushDue = true
    }

    /// Sends what other threads have done by the time that this one has taken it all over.
    func flushSoon(_ context: ChannelHandlerContext) {
        guard !isFlushSoon else { return }
        isFlushSoon = true
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.execute {
            let (phase, context) = bound.value
            phase.isFlushSoon = false
            phase.sendGathered(context)
            phase.isFlushDue = false
            context.flush()
        }
    }

    /// There is room again.
    func goOn(_ context: ChannelHandlerContext, resuming: Bool = false) {
        guard context.channel.isActive else { return }
        if !held.isEmpty, resuming || underWay.bytes == 0 { resumeHeld(context) }
        serve(context)
        if isEnding || isInputOver && underWay.requests == 0 { return end(context) }
        guard isReadHeld, mayReceive else { return }
        isReadHeld = false
        context.read()
    }

    /// Takes up nothing more, and ends the connection once all is answered.
    func end(_ context: ChannelHandlerContext) {
        isEnding = true
        guard underWay.requests == 0 else { return }
        guard isStopping, !isInputOver, !isClosing else { return context.close(promise: nil) }
        // The client may have sent more by now. To close with that unread would reset the connection, and take from it
        // the answers that are still on their way.
        isClosing = true
        let channel = context.channel
        channel.close(mode: .output).whenFailure { _ in channel.close(promise: nil) }
        context.eventLoop.scheduleTask(in: Self.closeDelay) { channel.close(promise: nil) }
    }

    /// No piece of an answer can be made, and only the end of the connection tells it.
    func fail(_ fault: ReadReply.Fault, _ context: ChannelHandlerContext) {
        if case .promised(let error) = fault { fail(error, context) } else { fail(Self.overloaded, context) }
    }

    /// The client has been promised what cannot be read, and only the end of the connection tells it.
    func fail(_ error: NBDError, _ context: ChannelHandlerContext) {
        serving.logger.warning("\(printable("\(record.peer): export \"\(session.export.name)\": \(error.message)"))")
        record.noteEnding("what the client was promised cannot be read: \(error.message)")
        isEnding = true
        context.close(promise: nil)
    }
}
