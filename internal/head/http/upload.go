package http

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

const (
	filesTail = "/files"
	// maxUploadBody bounds the bodies of both requests: a name, or a description.
	maxUploadBody = 16 << 10
)

// createUpload gives a device a ticket for a file.
func (h *handler) createUpload(c *call) (reply, error) {
	s, err := h.session(c, filesTail)
	if err != nil {
		return reply{}, err
	}
	defer s.Close(nil) //nolint:errcheck // nothing is held by it
	var body struct {
		BlobName string `json:"blobName"`
	}
	if err := readObject(c, &body); err != nil {
		return reply{}, err
	}
	return h.ticket(c, body.BlobName)
}

// getUpload is createUpload as clients of 2016 ask for it.
func (h *handler) getUpload(c *call) (reply, error) {
	s, err := h.session(c, filesTail+"/"+c.params.file)
	if err != nil {
		return reply{}, err
	}
	defer s.Close(nil) //nolint:errcheck // nothing is held by it
	return h.ticket(c, c.params.file)
}

func (h *handler) ticket(c *call, name string) (reply, error) {
	if h.uploads == nil {
		return reply{}, errNoUploads
	}
	host, err := storageHost(c.r.Host)
	if err != nil {
		return reply{}, err
	}
	p, err := h.uploads.Begin(c.r.Context(), c.id, name, host)
	if err != nil {
		return reply{}, ended(c.r.Context(), err)
	}
	body, err := hubjson.Marshal(struct {
		Correlation string `json:"correlationId"`
		Host        string `json:"hostName"`
		Container   string `json:"containerName"`
		Blob        string `json:"blobName"`
		Token       string `json:"sasToken"`
	}{p.Correlation, p.Host, p.Container, p.Blob, "?" + string(p.Query)})
	if err != nil {
		return reply{}, fmt.Errorf("render the ticket: %w", err)
	}
	return reply{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body: body}, nil
}

var errNoUploads = causeway.Errorf(causeway.DefaultStorageEndpointNotConfigured, "http.upload", "file upload is switched off on this hub")

// storageHost returns what a client calls the storage: the host and port that
// it has found the hub at. Clients put it between "https://" and a path.
func storageHost(hostport string) (string, error) {
	if sas.Host(hostport) == hostport { // without a port
		return strings.ToLower(hostport), nil
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", causeway.Errorf(causeway.ArgumentInvalid, "http.upload", "the Host header is %q, not a host and a port", hubhttp.Clip(hostport))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", causeway.Errorf(causeway.ArgumentInvalid, "http.upload", "the port of the Host header is %q, not a number", hubhttp.Clip(port))
	}
	if port == "443" {
		port = ""
	} else {
		port = ":" + port
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return strings.ToLower(host) + port, nil
}

// completeUpload ends an upload. The correlation id is in the path or in the
// body.
func (h *handler) completeUpload(c *call) (reply, error) {
	const op = "http.upload"
	tail := filesTail + "/notifications"
	if c.params.correlation != "" {
		tail += "/" + c.params.correlation
	}
	s, err := h.session(c, tail)
	if err != nil {
		return reply{}, err
	}
	defer s.Close(nil) //nolint:errcheck // nothing is held by it
	var body struct {
		Correlation string `json:"correlationId"`
		Success     *bool  `json:"isSuccess"`
		// Text of clients that may be anything: it changes nothing.
		Status      json.RawMessage `json:"statusCode"`
		Description json.RawMessage `json:"statusDescription"`
	}
	if err := readObject(c, &body); err != nil {
		return reply{}, err
	}
	if h.uploads == nil {
		return reply{}, errNoUploads
	}
	if body.Success == nil {
		return reply{}, causeway.Errorf(causeway.InvalidFileUploadCompletionStatus, op, "isSuccess is missing: true when the file was uploaded, else false")
	}
	r := upload.Report{Correlation: body.Correlation, Success: *body.Success, Description: scalarText(body.Description)}
	r.Status, _ = strconv.Atoi(scalarText(body.Status))
	if c.params.correlation != "" {
		r.Correlation = c.params.correlation
	}
	if err := h.uploads.Complete(c.r.Context(), c.id, r); err != nil {
		return reply{}, ended(c.r.Context(), err)
	}
	return done, nil
}

// scalarText returns the text of a JSON scalar.
func scalarText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// readObject reads the request body, a JSON object, into v. Unknown members are
// ignored.
func readObject(c *call, v any) error {
	const op = "http.json"
	body, err := readBody(c, maxUploadBody)
	if err != nil {
		if causeway.CodeOf(err) == causeway.MessageTooLarge {
			return causeway.Errorf(causeway.GenericRequestEntityTooLarge, op, "the request body is larger than %d bytes", maxUploadBody)
		}
		return err
	}
	text := strings.TrimSpace(string(body))
	switch {
	case text == "":
		return causeway.Errorf(causeway.DeserializationError, op, "the request body is empty, a JSON object was expected")
	case text[0] != '{':
		return causeway.Errorf(causeway.DeserializationError, op, "the request body is not a JSON object")
	case !utf8.ValidString(text):
		return causeway.Errorf(causeway.DeserializationError, op, "the request body is not UTF-8")
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return causeway.Errorf(causeway.DeserializationError, op, "the request body is not the JSON object that was expected: %v", err)
	}
	return nil
}
