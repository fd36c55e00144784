import AccessLog
import BlockImage
import Catalog
import Logging
import NIOCore

/// What is written to the export.
extension TransmissionPhase {
    /// The most bytes of one connection that are being written, but for those of the last piece.
    private static let writingLimit: UInt64 = 8 << 20

    /// Whether what follows `request` is to be written.
    func wantsPayload(of request: Request) -> Bool {
        request.command == .write && !isStopping && session.refusal(of: request) == nil
    }

    /// Takes up what has come of the payload of `write`; answers false where more must come first, or be written.
    func receive(_ write: WriteUnderWay, _ context: ChannelHandlerContext) -> Bool {
        if write.error != nil {
            isPayloadHeld = false
            dropPiece(of: write)
            decoder.dropPayload(in: &received)
        } else {
            isPayloadHeld = write.count == 0 && !beginPiece(of: write, context)
            guard !isPayloadHeld else { return false }
            let missing = Int(write.count) - write.piece.readableBytes
            decoder.takePayload(missing, in: &received, into: &write.piece)
            if write.piece.readableBytes == Int(write.count) { submitPiece(of: write, context) }
        }
        guard decoder.wanted == 0 else { return received.readableBytes > 0 }
        incoming = nil
        write.isReceived = true
        finish(write, context)
        return true
    }

    /// Takes the memory of the next piece; false where other pieces of the connection must be written first. One that has
    /// none under way never waits.
    private func beginPiece(of write: WriteUnderWay, _ context: ChannelHandlerContext) -> Bool {
        var count = write.nextCount
        if writing.own + count > Serving.ownPayloadSize {
            if writing.bytes < Self.writingLimit, let memory = TakenMemory(count, of: serving.payloads) {
                write.memory = memory
                hadMuch = true
            } else if writing.own == 0 {
                count = min(count, Serving.ownPayloadSize)
            } else {
                return false
            }
        }
        write.count = count
        writing.bytes += count
        if write.memory == nil { writing.own += count }
        write.piece = context.channel.allocator.buffer(capacity: Int(count))
        return true
    }

    private func dropPiece(of write: WriteUnderWay) {
        release(write.count, isOwn: write.memory == nil)
        (write.piece, write.memory, write.count) = (ByteBuffer(), nil, 0)
    }

    private func release(_ count: UInt64, isOwn: Bool) {
        // The end of the connection has given back all of it, also of pieces that threads had begun to write.
        guard !isGone else { return }
        writing.bytes -= count
        if isOwn { writing.own -= count }
    }

    /// Has another thread write the piece that is there.
    private func submitPiece(of write: WriteUnderWay, _ context: ChannelHandlerContext) {
        let (position, count, isOwn) = (write.position, write.count, write.memory == nil)
        let payload = Payload(write.piece, write.memory)
        (write.piece, write.memory, write.count) = (ByteBuffer(), nil, 0)
        write.position += count
        write.pieces += 1
        writing.payloads[ObjectIdentifier(payload)] = payload
        let bound = NIOLoopBound((self, context, write), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        let isTaken = serving.writers.run(for: ObjectIdentifier(session.export.opened)) {
            [session, serving, peer = record.peer] in
            guard let piece = payload.take() else { return }
            var fault: NBDError?
            do throws(ImageError) {
                try session.export.write(piece.bytes.readableBytesSpan, at: position)
            } catch {
                serving.noteWriteFault(error, of: session.export, peer)
                fault = NBDError(error, at: position, paths: session.export.paths)
            }
            let found = fault
            loop.execute {
                let (phase, context, write) = bound.value
                phase.writing.payloads[ObjectIdentifier(payload)] = nil
                phase.release(count, isOwn: isOwn)
                write.pieces -= 1
                write.error = write.error ?? found
                if found == nil { phase.record.count(bytesWritten: count) }
                phase.finish(write, context)
                phase.goOn(context)
                phase.flushSoon(context)
            }
        }
        if !isTaken { fail(Self.overloaded, context) }
    }

    /// Answers `write` once all of it was written.
    private func finish(_ write: WriteUnderWay, _ context: ChannelHandlerContext) {
        guard write.isReceived, write.pieces == 0, !isGone else { return }
        if let error = write.error {
            gather(Load(requests: 1), context) { encoder.writeError(error, to: write.request, into: &$0) }
        } else if write.request.flags.contains(.fua) {
            answerChange(write.request, context)
        } else {
            gather(Load(requests: 1), context) { encoder.writeDone(write.request, into: &$0) }
        }
    }

    /// Has another thread do what `request` says besides writing bytes, and answers it.
    func answerChange(_ request: Request, _ context: ChannelHandlerContext) {
        answerElsewhere(Load(requests: 1), context, on: serving.writers) {
            [session, encoder, serving, peer = record.peer] in
            do throws(ImageError) {
                try session.change(by: request)
                encoder.writeDone(request, into: &$0)
            } catch {
                if error.code != .unsupported { serving.noteWriteFault(error, of: session.export, peer) }
                encoder.writeError(NBDError(error, paths: session.export.paths), to: request, into: &$0)
            }
        }
    }

    /// The client sends no more: the write whose payload is coming ends without it, unless all of that has come, and waits for
    /// memory.
    func endPayload(_ context: ChannelHandlerContext) {
        guard let write = incoming, decoder.wanted > UInt64(received.readableBytes) else { return }
        incoming = nil
        received.clear()
        decoder.dropWanted()
        dropPiece(of: write)
        write.error = write.error ?? NBDError(.invalid, "the end came before all that is to be written")
        write.isReceived = true
        finish(write, context)
    }

    /// The connection ends: what no thread has begun to write is dropped, and what was written is made to last.
    func endWriting() {
        guard session.export.isWritable else { return }
        for payload in writing.payloads.values { _ = payload.take() }
        writing = PayloadLoad()
        incoming = nil
        let export = session.export
        _ = serving.writers.run(for: ObjectIdentifier(export.opened)) { [logger = serving.logger] in
            do throws(ImageError) { try export.flush() } catch {
                logger.error("\(printable("export \"\(export.name)\": what was written may be lost: \(error)"))")
            }
        }
    }
}
