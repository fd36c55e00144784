import CCrypto

/// The subject of the X.509 certificate `bytes`, in DER: `CN=client,O=Example`, as RFC 2253 writes it. Nil for bytes that are
/// no certificate.
public func certificateSubject(ofDER bytes: [UInt8]) -> String? {
    // Safe: the buffers are given with their lengths and live during the calls, and what libcrypto allocates is freed here.
    unsafe bytes.withUnsafeBufferPointer { buffer in
        var start = buffer.baseAddress
        guard let certificate = unsafe d2i_X509(nil, &start, buffer.count), let output = unsafe BIO_new(BIO_s_mem())
        else { return nil }
        defer {
            unsafe X509_free(certificate)
            unsafe _ = BIO_free(output)
        }
        let form = ccrypto_name_form()
        guard unsafe X509_NAME_print_ex(output, X509_get_subject_name(certificate), 0, form) >= 0 else { return nil }
        var text = [UInt8](repeating: 0, count: 4096)
        let count = unsafe BIO_read(output, &text, CInt(text.count))
        return String(decoding: text.prefix(Int(max(0, count))), as: UTF8.self)
    }
}
