// Package remotehub puts devices that are provisioned on hubs elsewhere, by way of
// their REST API: those of other clouds of ours, and of any that speaks it.
//
// What a back end cannot write, a remote hub does not get: a device that moves
// there reports its properties again.
package remotehub

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// Bounds.
const (
	CallTimeout = 15 * time.Second // for one answer of a hub, those that say "later" included
	maxClients  = 1000             // hubs that are kept in mind
)

// Hubs finds hubs by the connection strings of their links. It is safe for
// concurrent use.
type Hubs struct {
	o client.Options

	mu      sync.Mutex
	clients map[causeway.Secret]*client.Service // by connection string
}

var _ dps.Targets = (*Hubs)(nil)

// New returns hubs that are reached as o says.
func New(o client.Options) *Hubs {
	return &Hubs{o: o, clients: map[causeway.Secret]*client.Service{}}
}

// Close gives up idle connections.
func (h *Hubs) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.clients {
		c.Close()
	}
	clear(h.clients)
}

// Target implements [dps.Targets].
func (h *Hubs) Target(l dps.Link) (dps.Target, error) {
	if l.ConnectionString == "" {
		return nil, fmt.Errorf("hub %s has no connection string", l.Host)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clients[l.ConnectionString]
	if c == nil {
		var err error
		if c, err = client.NewService(string(l.ConnectionString), h.o); err != nil {
			return nil, fmt.Errorf("hub %s: %w", l.Host, err)
		}
		if len(h.clients) >= maxClients { // of links that are no more
			for k, old := range h.clients {
				old.Close()
				delete(h.clients, k)
			}
		}
		h.clients[l.ConnectionString] = c
	}
	return hub{c}, nil
}

// hub implements [dps.Target].
type hub struct{ service *client.Service }

// Get implements [dps.Target].
func (h hub) Get(ctx context.Context, id string) (dps.Device, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	r, err := h.service.Device(ctx, id)
	if gone(err) {
		return dps.Device{}, false, nil
	}
	if err != nil {
		return dps.Device{}, false, fmt.Errorf("read device: %w", trusted(err))
	}
	twin, err := h.service.Twin(ctx, id, "")
	if gone(err) {
		return dps.Device{}, false, nil
	}
	if err != nil {
		return dps.Device{}, false, fmt.Errorf("read twin: %w", err)
	}
	d := dps.Device{ID: id, Edge: r.Capabilities != nil && r.Capabilities.IoTEdge}
	if a := r.Authentication; a != nil && a.Type == selfSigned && a.X509Thumbprint != nil {
		d.Thumbprint, d.SecondThumbprint = a.X509Thumbprint.PrimaryThumbprint, a.X509Thumbprint.SecondaryThumbprint
	} else if a != nil && a.SymmetricKey != nil {
		d.Keys.Primary, d.Keys.Secondary = causeway.Secret(a.SymmetricKey.PrimaryKey), causeway.Secret(a.SymmetricKey.SecondaryKey)
	}
	d.Tags = twin.Tags
	if d.Desired, err = properties(twin.Properties.Desired); err != nil {
		return d, true, fmt.Errorf("read desired properties: %w", err)
	}
	if d.Reported, err = properties(twin.Properties.Reported); err != nil {
		return d, true, fmt.Errorf("read reported properties: %w", err)
	}
	return d, true, nil
}

// Put implements [dps.Target]. A device that exists stays enabled or disabled as
// it is, and where it is among edge devices.
func (h hub) Put(ctx context.Context, d dps.Device, reset bool) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	want := client.DeviceIdentity{DeviceID: d.ID, Status: "enabled", Capabilities: &client.Capabilities{IoTEdge: d.Edge}, Authentication: authentication(d)}
	_, err := h.service.CreateDevice(ctx, want)
	existed := causeway.CodeOf(err).HTTPStatus() == http.StatusConflict
	if existed {
		err = h.update(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("put device: %w", trusted(err))
	}
	if reset {
		return h.replace(ctx, d)
	}
	if d.Tags == nil && d.Desired == nil {
		return nil
	}
	if existed {
		// It may be ours: made before an interruption, and without its twin yet.
		twin, err := h.service.Twin(ctx, d.ID, "")
		if err != nil {
			return passing("read twin", err)
		}
		if !pristine(&twin) {
			return nil
		}
	}
	return h.replace(ctx, d)
}

// update gives a device that exists the credentials and capabilities of want. One
// that has them is left alone, or its connections would end for nothing.
func (h hub) update(ctx context.Context, want client.DeviceIdentity) error {
	old, err := h.service.Device(ctx, want.DeviceID)
	if err != nil {
		return passing("read device", err)
	}
	edge := old.Capabilities != nil && old.Capabilities.IoTEdge
	if sameAuthentication(old.Authentication, want.Authentication) && edge == want.Capabilities.IoTEdge {
		return nil
	}
	want.Status, want.StatusReason, want.ETag = old.Status, old.StatusReason, old.ETag
	if edge == want.Capabilities.IoTEdge {
		want.DeviceScope, want.ParentScopes = old.DeviceScope, old.ParentScopes
	}
	if _, err = h.service.UpdateDevice(ctx, want, old.ETag); err != nil {
		return passing("update device", err)
	}
	return nil
}

// replace writes what a back end may write of a twin.
func (h hub) replace(ctx context.Context, d dps.Device) error {
	if _, err := h.service.ReplaceTwin(ctx, d.ID, "", client.TwinPatch{Tags: orEmpty(d.Tags), Desired: orEmpty(d.Desired)}, client.AnyVersion); err != nil {
		return passing("replace twin", err)
	}
	return nil
}

// Delete implements [dps.Target].
func (h hub) Delete(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	err := h.service.DeleteDevice(ctx, id, client.AnyVersion)
	if gone(err) {
		return nil
	}
	return trusted(err)
}

// trusted names what is wrong with a server that cannot be trusted to be the hub: no
// time mends that.
func trusted(err error) error {
	var unknown x509.UnknownAuthorityError
	var wrong x509.HostnameError
	var invalid x509.CertificateInvalidError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return &dps.UnusableError{Msg: "its certificate is of an authority that the provisioning service does not trust", Err: err}
	case errors.As(err, &wrong):
		return &dps.UnusableError{Msg: "its certificate is for another host name", Err: err}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &dps.UnusableError{Msg: "its certificate has expired, or is not valid yet", Err: err}
	case errors.As(err, &certificate):
		return &dps.UnusableError{Msg: "its certificate is not trusted", Err: err}
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		return &dps.UnusableError{Msg: "it does not speak TLS", Err: err}
	}
	return err
}

func gone(err error) bool { return causeway.CodeOf(err).HTTPStatus() == http.StatusNotFound }

// passing takes the code from an error that says that somebody else changed or
// deleted the device meanwhile: there is use in beginning anew.
func passing(what string, err error) error {
	if s := causeway.CodeOf(err).HTTPStatus(); s == http.StatusNotFound || s == http.StatusPreconditionFailed || s == http.StatusConflict {
		return errors.New(what + ": " + err.Error())
	}
	return fmt.Errorf("%s: %w", what, err)
}

// How devices prove themselves, in the words of the API.
const (
	sasKeys    = "sas"
	selfSigned = "selfSigned"
)

func authentication(d dps.Device) *client.Authentication {
	if d.Thumbprint != "" {
		return &client.Authentication{Type: selfSigned, X509Thumbprint: &client.X509Thumbprint{PrimaryThumbprint: d.Thumbprint, SecondaryThumbprint: d.SecondThumbprint}}
	}
	return &client.Authentication{Type: sasKeys, SymmetricKey: &client.SymmetricKey{PrimaryKey: string(d.Keys.Primary), SecondaryKey: string(d.Keys.Secondary)}}
}

func sameAuthentication(a, b *client.Authentication) bool {
	switch {
	case a == nil || a.Type != b.Type:
		return false
	case b.Type == selfSigned:
		return a.X509Thumbprint != nil && strings.EqualFold(a.X509Thumbprint.PrimaryThumbprint, b.X509Thumbprint.PrimaryThumbprint) && strings.EqualFold(a.X509Thumbprint.SecondaryThumbprint, b.X509Thumbprint.SecondaryThumbprint)
	}
	return a.SymmetricKey != nil && *a.SymmetricKey == *b.SymmetricKey
}

// pristine reports whether nobody has written to a twin.
func pristine(t *client.Twin) bool {
	var desired struct {
		Version int64 `json:"$version"`
	}
	if json.Unmarshal(t.Properties.Desired, &desired) != nil {
		return false
	}
	tags := bytes.TrimSpace(t.Tags)
	return desired.Version <= 1 && (len(tags) == 0 || string(tags) == "{}" || string(tags) == "null")
}

// properties returns a section of a twin without what the hub says of it.
func properties(section json.RawMessage) (json.RawMessage, error) {
	if len(section) == 0 {
		return nil, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(section, &members); err != nil {
		return nil, err
	}
	for name := range members {
		if strings.HasPrefix(name, "$") {
			delete(members, name)
		}
	}
	return json.Marshal(members)
}

func orEmpty(doc json.RawMessage) json.RawMessage {
	if doc == nil {
		return json.RawMessage("{}")
	}
	return doc
}
