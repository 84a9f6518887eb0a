package est

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// lineLength is how long a line of base64 is: clients put the lines between those
// of a PEM block as they are, and the line end of the last one must be there.
const lineLength = 64

// write sends an answer.
func write(w http.ResponseWriter, a answer) {
	if a.bag == nil {
		w.WriteHeader(a.status)
		return
	}
	body := lines(a.bag)
	head := w.Header()
	head.Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	head.Set("Content-Transfer-Encoding", "base64")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // a client that went away
}

// lines returns DER in base64, in lines that all end.
func lines(der []byte) []byte {
	text := base64.StdEncoding.AppendEncode(nil, der)
	out := make([]byte, 0, len(text)+len(text)/lineLength+1)
	for len(text) > 0 {
		n := min(lineLength, len(text))
		out = append(append(out, text[:n]...), '\n')
		text = text[n:]
	}
	return out
}

// refuse answers with an error, in words for a person (RFC 7030 §4.2.3), and
// returns its status.
func (h *handler) refuse(w http.ResponseWriter, err error) int {
	code := causeway.CodeOf(err)
	h.metrics.Refused.WithLabelValues(strconv.Itoa(int(code))).Inc()
	status := code.HTTPStatus()
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	head := w.Header()
	switch status {
	case http.StatusUnauthorized:
		head.Set("WWW-Authenticate", `Basic realm="provisioning", charset="UTF-8"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusConflict:
		after := cmp.Or(hubhttp.RetryAfter(err), retryAfter)
		head.Set("Retry-After", strconv.Itoa(max(1, int(after.Round(time.Second).Seconds()))))
	}
	head.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(causeway.MessageOf(err) + "\n")) // a client that went away
	return status
}
