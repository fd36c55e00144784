import BlockImage
import Dispatch
import Synchronization

/// Has what was written to the overlays of a folder be in their files soon, also when no program asks for it. Every method may
/// be called from any thread.
public final class IdleWriteBack: Sendable {
    /// How often that is looked after: a server that is killed loses what was written in the last second at most.
    private static let interval = DispatchTimeInterval.milliseconds(400)

    private let queue = DispatchQueue(label: "write-back")
    private let isOver = Atomic(false)

    /// Begins to do so for `overlays`. `report` gets what went wrong, on any thread.
    public init(of overlays: OverlayFolder, report: @escaping @Sendable (ImageError) -> Void) {
        goOn { overlays.writeBack(report) }
    }

    private func goOn(_ work: @escaping @Sendable () -> Void) {
        queue.asyncAfter(deadline: .now() + Self.interval) { [weak self] in
            guard let self, !isOver.load(ordering: .relaxed) else { return }
            work()
            goOn(work)
        }
    }

    /// Does so no more, and has begun so for the last time when this returns.
    public func end() {
        isOver.store(true, ordering: .relaxed)
        queue.sync {}
    }
}
