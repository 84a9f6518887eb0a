package webhook

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/routed"
)

// encode writes the first messages of a batch, as many as fit into one request,
// and returns how many these are.
func (s *Sink) encode(batch []causeway.Message) (body []byte, n int, err error) {
	if s.single() {
		body, err = hubjson.Marshal(s.shape(&batch[0]))
		return body, 1, err
	}
	var buf bytes.Buffer
	for i := range batch {
		one, err := hubjson.Marshal(s.shape(&batch[i]))
		if err != nil {
			if n == 0 {
				return nil, 0, fmt.Errorf("write message as JSON: %w", err)
			}
			break // it is the first of the next request
		}
		if n > 0 && buf.Len()+len(one) > s.c.MaxBytes {
			break
		}
		if n == 0 {
			buf.WriteByte('[')
		} else {
			buf.WriteByte(',')
		}
		buf.Write(one)
		n++
	}
	buf.WriteByte(']')
	return buf.Bytes(), n, nil
}

// single reports whether a request has one message that is no array.
func (s *Sink) single() bool { return s.c.Format == FormatCloudEvents && s.c.Batch == 1 }

// shape returns what is written of a message.
func (s *Sink) shape(m *causeway.Message) any {
	if s.c.Format == FormatJSON {
		return routed.NewRecord(m)
	}
	e := routed.NewEvent(m)
	topic := cmp.Or(s.c.Topic, routed.Topic(s.env.Hub))
	if s.c.Format == FormatEventGrid {
		return e.Grid(topic)
	}
	return e.Cloud(topic)
}

// eventHeaders are those of requests with messages.
func (s *Sink) eventHeaders(batch []causeway.Message) http.Header {
	h := http.Header{}
	if s.c.Signing != "" {
		h.Set("Webhook-Id", requestID(batch))
	}
	switch {
	case s.single():
		h.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	case s.c.Format == FormatCloudEvents:
		h.Set("Content-Type", "application/cloudevents-batch+json; charset=utf-8")
	default:
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if s.c.Format == FormatEventGrid {
		h.Set("Aeg-Event-Type", "Notification")
		s.gridHeaders(h)
	}
	return h
}

// requestID returns the id of a request with some messages. It is the same when
// they are sent again, which is how a receiver tells, as Standard Webhooks has it.
func requestID(batch []causeway.Message) string {
	h := sha256.New()
	for i := range batch {
		_, _ = h.Write([]byte(routed.ID(&batch[i]))) // never fails
	}
	return "msg_" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20])
}

// gridHeaders are those of all requests of Event Grid.
func (s *Sink) gridHeaders(h http.Header) {
	h.Set("Aeg-Subscription-Name", s.env.Endpoint)
	h.Set("Aeg-Data-Version", "1")
	h.Set("Aeg-Metadata-Version", "1")
	h.Set("Aeg-Delivery-Count", "0")
}

// authorize shows the receiver who we are.
func (s *Sink) authorize(req *http.Request, body []byte) {
	switch {
	case s.c.Token != "":
		req.Header.Set("Authorization", "Bearer "+string(s.c.Token))
	case s.c.User != "":
		req.SetBasicAuth(s.c.User, string(s.c.Password))
	}
	if s.c.Key != "" {
		req.Header.Set(s.c.KeyName, string(s.c.Key))
	}
	if s.c.Signing == "" {
		return
	}
	key, err := s.c.signingKey()
	if err != nil {
		return // refused when the settings were checked
	}
	id, at := req.Header.Get("Webhook-Id"), strconv.FormatInt(time.Now().Unix(), 10)
	if id == "" { // the handshake
		id = "msg_" + rand.Text()
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, at)
	_, _ = mac.Write(body) // never fails
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", at)
	req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
