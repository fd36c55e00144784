#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/// RFC 2253, with characters beyond ASCII as they are. The macros are too complex for the importer.
static inline unsigned long ccrypto_name_form(void) { return XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB; }
