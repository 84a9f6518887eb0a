package est

import (
	"bytes"
	"encoding/base64"
	"net/http/httptest"
	"testing"

	"github.com/causeway-iot/causeway"
)

// TestRequestAsItIs takes DER to its last byte, whatever that looks like.
func TestRequestAsItIs(t *testing.T) {
	der := []byte{0x30, 0x82, 0, 3, 1, ' ', '\n'}
	if got, err := readRequest(der); err != nil || !bytes.Equal(got, der) {
		t.Errorf("%x, %v", got, err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("MIIB"), "Basic ZDpBQUFB")
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"), "SharedAccessSignature sr=x")
	f.Add([]byte{0x30, 0x82, 1, 0}, "")
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		csr, err := readRequest(body)
		if err != nil {
			if causeway.CodeOf(err) != causeway.GenericBadRequest {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if len(csr) > len(body) {
			t.Errorf("%q has become %d bytes", body, len(csr))
		}
		if again, err := readRequest([]byte(base64.StdEncoding.EncodeToString(csr))); err == nil && !bytes.Equal(again, csr) && len(csr) > 127 {
			t.Errorf("%x is read as %x", csr, again)
		}
		r := httptest.NewRequest("POST", Prefix+"simpleenroll", nil)
		r.Header.Set("Authorization", header)
		reg, err := registration(r, "0ne1", csr)
		if err == nil && len(reg.CSR) == 0 {
			t.Errorf("%q is a registration without a request", body)
		}
	})
}
