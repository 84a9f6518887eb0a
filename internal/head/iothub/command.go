package iothub

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

const appPrefix = "Iothub-App-" // as net/http spells received header names

// sendCommand queues a cloud-to-device message.
func (h *handler) sendCommand(c *call) (reply, error) {
	ctx := c.r.Context()
	rec, err := h.registry.Get(ctx, c.id)
	if err != nil {
		return reply{}, err
	}
	body, err := readBody(c, causeway.MaxCommandSize, causeway.MessageTooLarge)
	if err != nil {
		return reply{}, err
	}
	m, err := message(c.r.Header)
	if err != nil {
		return reply{}, err
	}
	m.Body, m.To = body, address(c.id)
	if err := h.commands.Enqueue(ctx, c.id, m, rec.GenerationID); err != nil {
		return reply{}, err
	}
	h.metrics.MessagesIn.Inc()
	h.metrics.BytesIn.Add(float64(len(body)))
	h.metrics.AckLatency.Observe(time.Since(c.arrived).Seconds())
	return reply{status: http.StatusNoContent}, nil
}

// message reads the system and application properties of a message from
// headers. HTTP does not keep the case of header names, and HTTP/2 forbids
// upper case, so application properties arrive in lower case.
func message(h http.Header) (causeway.Message, error) {
	const op = "iothub.send"
	m := causeway.Message{
		ID:              h.Get("iothub-messageid"),
		CorrelationID:   h.Get("iothub-correlationid"),
		UserID:          h.Get("iothub-userid"),
		ContentType:     h.Get("iothub-contenttype"),
		ContentEncoding: h.Get("iothub-contentencoding"),
		CreationTime:    h.Get("iothub-creationtimeutc"),
		Schema:          h.Get("iothub-messageschema"),
	}
	if m.Ack = causeway.Ack(strings.ToLower(h.Get("iothub-ack"))); m.Ack == "none" {
		m.Ack = causeway.AckNone
	}
	if v := h.Get("iothub-expiry"); v != "" {
		t, err := parseTime(v)
		if err != nil {
			return m, causeway.Errorf(causeway.ArgumentInvalid, op, "iothub-expiry is %q, it must be a time such as 2024-01-31T12:00:00Z", clip(v))
		}
		m.Expiry = t
	}
	for name, values := range h {
		key, ok := strings.CutPrefix(name, appPrefix)
		if !ok {
			continue
		}
		m.Properties = append(m.Properties, causeway.Property{Key: strings.ToLower(key), Value: strings.Join(values, ",")})
	}
	sortProperties(m.Properties)
	return m, nil
}

// parseTime reads ISO 8601, with UTC as the default zone, and the date format
// of HTTP.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", http.TimeFormat} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, strconv.ErrSyntax
}

func address(id causeway.Identity) string {
	if id.IsModule() {
		return "/devices/" + id.Device + "/modules/" + id.Module + "/messages/deviceBound"
	}
	return "/devices/" + id.Device + "/messages/deviceBound"
}

func (h *handler) purgeCommands(c *call) (reply, error) {
	ctx := c.r.Context()
	if _, err := h.registry.Get(ctx, c.id); err != nil {
		return reply{}, err
	}
	n, err := h.commands.Purge(ctx, c.id)
	if err != nil {
		return reply{}, err
	}
	h.audit(c, "commands purged")
	return reply{status: http.StatusOK}.json(struct {
		Purged   int     `json:"totalMessagesPurged"`
		DeviceID string  `json:"deviceId"`
		ModuleID *string `json:"moduleId"`
	}{n, c.id.Device, orNull(c.id.Module)})
}

// receiveCommand hands the oldest free message to its device and locks it.
func (h *handler) receiveCommand(c *call) (reply, error) {
	ctx := c.r.Context()
	if _, err := h.registry.Get(ctx, c.id); err != nil {
		return reply{}, err
	}
	m, ok, err := h.commands.Receive(ctx, c.id)
	if err != nil {
		return reply{}, err
	}
	if !ok {
		return reply{status: http.StatusNoContent}, nil
	}
	h.metrics.MessagesOut.Inc()
	h.metrics.BytesOut.Add(float64(len(m.Body)))
	return reply{status: http.StatusOK, etag: lockText(m.Lock), header: commandHeader(c.id, &m), body: m.Body, raw: true}, nil
}

// commandHeader returns the properties of a message as headers, spelled as the
// service spells them.
func commandHeader(id causeway.Identity, m *causeway.Message) http.Header {
	h := http.Header{
		"Content-Type":          {"application/octet-stream"},
		"iothub-sequencenumber": {strconv.FormatInt(m.Sequence, 10)},
		"iothub-enqueuedtime":   {timeZ(m.Enqueued)},
		"iothub-deliverycount":  {strconv.Itoa(m.DeliveryCount)},
		"iothub-to":             {address(id)},
	}
	for _, p := range []struct{ name, value string }{
		{"iothub-messageid", m.ID},
		{"iothub-correlationid", m.CorrelationID},
		{"iothub-userid", m.UserID},
		{"iothub-ack", string(m.Ack)},
		{"ContentType", m.ContentType},
		{"ContentEncoding", m.ContentEncoding},
	} {
		if p.value != "" {
			h[p.name] = []string{headerText(p.value)}
		}
	}
	if !m.Expiry.IsZero() {
		h["iothub-expiry"] = []string{timeZ(m.Expiry)}
	}
	for _, p := range m.Properties {
		if headerName(p.Key) {
			name := "iothub-app-" + p.Key
			h[name] = append(h[name], headerText(p.Value))
		}
	}
	return h
}

// completeCommand ends a delivery, or rejects it when the query says so.
func (h *handler) completeCommand(c *call) (reply, error) {
	outcome := causeway.Accepted
	if c.r.URL.Query().Has("reject") {
		outcome = causeway.Rejected
	}
	return h.settle(c, outcome)
}

func (h *handler) abandonCommand(c *call) (reply, error) { return h.settle(c, causeway.Released) }

func (h *handler) settle(c *call, o causeway.Outcome) (reply, error) {
	lock, err := c.lock()
	if err != nil {
		return reply{}, err
	}
	if err := h.commands.Settle(c.r.Context(), c.id, lock, o); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

// lock returns the lock token in the path.
func (c *call) lock() (causeway.LockToken, error) {
	l, ok := parseLock(c.params.lock)
	if !ok {
		return l, causeway.Errorf(causeway.ArgumentInvalid, "iothub.settle",
			"the lock token %q is not one this hub gives: take it from the ETag header of the message", clip(c.params.lock))
	}
	return l, nil
}

// lockText writes a lock token as a UUID.
func lockText(l causeway.LockToken) string {
	s := hex.EncodeToString(l[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// parseLock reads what lockText wrote, in any case, quoted or not.
func parseLock(s string) (l causeway.LockToken, ok bool) {
	s = strings.Trim(s, `"`)
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return l, false
	}
	n, err := hex.Decode(l[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	return l, err == nil && n == len(l) && l != causeway.LockToken{}
}
