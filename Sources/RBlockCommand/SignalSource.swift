import Dispatch
import Glibc

/// Has `handler` called on a thread of libdispatch when the signal `number` arrives, which does nothing else to the process
/// from here on. Returns when that is so: a signal that came between would be lost. It ends with the last reference.
func signalSource(_ number: CInt, _ handler: @escaping @Sendable () -> Void) -> any DispatchSourceSignal {
    signal(number, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
    source.setEventHandler(handler: handler)
    let isThere = DispatchSemaphore(value: 0)
    source.setRegistrationHandler { isThere.signal() }
    source.activate()
    isThere.wait()
    return source
}
