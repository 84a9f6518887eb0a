package client

import (
	"cmp"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// DefaultProvisioningEndpoint is the host that devices of Azure ask for their hub.
const DefaultProvisioningEndpoint = "global.azure-devices-provisioning.net"

// How a device asks for its hub.
const (
	provisioningVersion = "2021-06-01"         // of the API
	issuingVersion      = "2025-07-01-preview" // that knows certificates for devices
	pollPause           = 2 * time.Second      // between questions, unless the service says another
	maxRetryAfter       = 5 * time.Minute      // of what a service may ask for
	askTimeout          = 30 * time.Second     // for one answer
	leastProvisionPause = 500 * time.Millisecond
	mostProvisionPause  = 30 * time.Second // between attempts to reach the service
)

// ProvisioningOptions say which device asks, whom, and how it proves who it is:
// with a key of its own, with one that is derived from the key of its group, or
// with a certificate.
type ProvisioningOptions struct {
	Options

	// Endpoint is the host name of the provisioning service, with a port if that of
	// HTTPS and WebSockets is not HTTPSPort; "" is DefaultProvisioningEndpoint.
	Endpoint string
	// Transport is how the device asks: HTTPS, which "" is, MQTT, MQTTWS, AMQP or
	// AMQPWS. Ports are those of Options.
	Transport causeway.Transport
	// IDScope is the service of the device. Required.
	IDScope string
	// RegistrationID is who the device is; "" is the common name of its
	// certificate.
	RegistrationID string

	// Key is the device's own, base64.
	Key causeway.Secret
	// GroupKey is that of an enrollment group, base64. Devices in the field have
	// the derived key only, see DeriveDeviceKey.
	GroupKey causeway.Secret
	// Certificate, with the intermediates up to the one that the service knows.
	Certificate *tls.Certificate

	// NewKey is a key that the service is to issue a certificate for, if the
	// enrollment has a credential policy; nil is for none.
	NewKey crypto.Signer

	// Payload is JSON for a custom allocation, nil for none.
	Payload json.RawMessage
	// Attempts is how many times in a row the service may be out of reach, or
	// too busy, before Provision gives up; 0 is no bound but that of its context.
	Attempts int
}

// Assignment is the hub that a device was given.
type Assignment struct {
	RegistrationID string
	Hub            string // host name
	DeviceID       string
	Substatus      string // initialAssignment, deviceDataMigrated, deviceDataReset, reprovisionedToInitialAssignment
	Group          string // enrollment group, "" for an enrollment of its own
	Payload        json.RawMessage
	ETag           string
	Created        time.Time
	Updated        time.Time
	// Certificate was issued for NewKey, with its chain; nil for none. The device
	// connects to its hub with it.
	Certificate *tls.Certificate
	// Waited is the part of the time that the device spent waiting because the
	// service told it to.
	Waited time.Duration
	// Device connects the device to its hub with what it proved itself with, and by
	// the transport it asked by unless that was HTTPS. The caller adds handlers and
	// what else it wants.
	Device DeviceOptions
}

// DeriveDeviceKey returns the key of a device of an enrollment group, base64.
func DeriveDeviceKey(groupKey causeway.Secret, registrationID string) (causeway.Secret, error) {
	key, err := base64.StdEncoding.DecodeString(string(groupKey))
	if err != nil || len(key) == 0 {
		return "", errors.New("derive the key of a device: the key of the group is not base64")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(registrationID))
	return causeway.Secret(base64.StdEncoding.EncodeToString(mac.Sum(nil))), nil
}

// Provision registers a device with a provisioning service, and returns the hub
// that it was assigned to. It asks again as the service tells it to. While the
// service is out of reach or too busy it tries again, longer and longer apart, until
// ctx ends or o.Attempts have failed.
//
// Errors of a service have the service's code, as those of a registration that
// failed or is disabled: 401002 (not admitted), 404203 (no such id scope), 400207
// to 400209 (no hub takes it), 403000 (disabled).
func Provision(ctx context.Context, o ProvisioningOptions) (Assignment, error) {
	p, err := newProvisioning(o)
	if err != nil {
		return Assignment{}, err
	}
	defer p.courier.close()
	a, err := p.run(ctx)
	if err != nil {
		return Assignment{}, fmt.Errorf("provision %s: %w", p.o.RegistrationID, err)
	}
	return a, nil
}

// provisioning is one device that asks for its hub.
type provisioning struct {
	o       ProvisioningOptions
	courier courier
	key     []byte // nil with a certificate
	body    []byte
	version string // of the API
	failed  int    // attempts in a row
	waited  time.Duration
}

// courier carries the questions of one device to the service. It is used by one
// goroutine.
type courier interface {
	// ask sends the registration, or a question for an operation unless that is "",
	// and returns the JSON of the answer. After is when to ask again, 0 when the
	// service does not say; it may come with an error, which is a *causeway.Error
	// when the service has refused.
	ask(ctx context.Context, operation string) (reply []byte, after time.Duration, err error)
	close()
}

// askAgain asks by try, and once more if that was on a connection kept from before
// and lost it: the service may have given it up while nothing was asked.
func askAgain(ctx context.Context, kept bool, try func() ([]byte, time.Duration, error)) (reply []byte, after time.Duration, err error) {
	reply, after, err = try()
	if _, refused := errors.AsType[*causeway.Error](err); err != nil && kept && !refused && ctx.Err() == nil {
		return try()
	}
	return reply, after, err
}

// asking says in errors what is asked.
func asking(operation string) string {
	if operation == "" {
		return "register"
	}
	return "ask for the hub"
}

func newProvisioning(o ProvisioningOptions) (*provisioning, error) {
	if o.Endpoint == "" {
		o.Endpoint = DefaultProvisioningEndpoint
	}
	if o.IDScope == "" {
		return nil, errors.New("provisioning options: IDScope is missing")
	}
	if o.RegistrationID == "" && o.Certificate != nil {
		leaf, err := leafOf(o.Certificate)
		if err != nil {
			return nil, err
		}
		o.RegistrationID = leaf.Subject.CommonName
	}
	if o.RegistrationID == "" {
		return nil, errors.New("provisioning options: RegistrationID is missing")
	}
	if len(o.Payload) > 0 && !json.Valid(o.Payload) {
		return nil, errors.New("provisioning options: Payload is not JSON")
	}
	if o.GroupKey != "" && o.Key == "" {
		var err error
		if o.Key, err = DeriveDeviceKey(o.GroupKey, o.RegistrationID); err != nil {
			return nil, err
		}
	}
	p := &provisioning{o: o}
	switch {
	case o.Key != "":
		var err error
		if p.key, err = base64.StdEncoding.DecodeString(string(o.Key)); err != nil || len(p.key) == 0 {
			return nil, errors.New("provisioning options: Key is not base64")
		}
	case o.Certificate == nil:
		return nil, errors.New("provisioning options: give Key, GroupKey or Certificate")
	}
	p.version = provisioningVersion
	var csr []byte
	var err error
	if o.NewKey != nil {
		p.version = issuingVersion
		request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: o.RegistrationID}}
		if csr, err = x509.CreateCertificateRequest(rand.Reader, request, o.NewKey); err != nil {
			return nil, fmt.Errorf("provisioning options: NewKey: %w", err)
		}
	}
	if p.body, err = json.Marshal(struct {
		ID      string          `json:"registrationId"`
		Payload json.RawMessage `json:"payload,omitempty"`
		CSR     []byte          `json:"csr,omitempty"`
	}{o.RegistrationID, o.Payload, csr}); err != nil {
		return nil, fmt.Errorf("encode registration: %w", err)
	}
	switch o.Transport {
	case "", causeway.HTTPS:
		p.courier = newHTTPSCourier(p)
	case causeway.MQTT, causeway.MQTTWS:
		p.courier = &mqttCourier{p: p}
	case causeway.AMQP, causeway.AMQPWS:
		p.courier = &amqpCourier{p: p}
	default:
		return nil, fmt.Errorf("provisioning options: Transport %q is none of https, mqtt, mqtt-ws, amqp, amqp-ws", o.Transport)
	}
	return p, nil
}

// token proves who the device is; "" for one with a certificate.
func (p *provisioning) token() string {
	if p.key == nil {
		return ""
	}
	return sas.Sign(p.address(), p.key, "registration", time.Now().Add(TokenLifetime))
}

// address is what the service calls the registration.
func (p *provisioning) address() string {
	return p.o.IDScope + "/registrations/" + p.o.RegistrationID
}

// endpoint returns where the service is, for what carries protocol.
func (p *provisioning) endpoint(protocol string, port, usual int) endpoint {
	host, own := splitHost(p.o.Endpoint)
	e := endpoint{host: host, protocol: protocol}
	if p.o.Transport == causeway.MQTTWS || p.o.Transport == causeway.AMQPWS {
		e.socket, port, usual = hubSocket, cmp.Or(own, p.o.HTTPSPort), DefaultHTTPSPort
	}
	if p.key == nil {
		e.certificates = []tls.Certificate{*p.o.Certificate}
	}
	e.addr = p.o.Options.address(host, port, usual)
	return e
}

// provisioningReply is what the service says of an operation.
type provisioningReply struct {
	Operation string            `json:"operationId"`
	Status    string            `json:"status"`
	State     provisioningState `json:"registrationState"`
}

type provisioningState struct {
	Hub          string          `json:"assignedHub"`
	Device       string          `json:"deviceId"`
	Substatus    string          `json:"substatus"`
	Code         causeway.Code   `json:"errorCode"`
	Message      string          `json:"errorMessage"`
	ETag         string          `json:"etag"`
	Created      time.Time       `json:"createdDateTimeUtc"`
	Updated      time.Time       `json:"lastUpdatedDateTimeUtc"`
	Payload      json.RawMessage `json:"payload"`
	Issued       [][]byte        `json:"issuedCertificateChain"`
	X509         groupOf         `json:"x509"`
	SymmetricKey groupOf         `json:"symmetricKey"`
}

type groupOf struct {
	Group string `json:"enrollmentGroupId"`
}

// run registers, and asks until the operation is over.
func (p *provisioning) run(ctx context.Context) (Assignment, error) {
	for operation := ""; ; {
		r, pause, err := p.ask(ctx, operation)
		switch {
		case err == nil && r.over():
			return p.assignment(&r)
		case err == nil && r.Operation == "":
			return Assignment{}, errors.New("the answer is not one of a provisioning service")
		case err == nil:
			operation = r.Operation
		case operation != "" && causeway.CodeOf(err).HTTPStatus() == http.StatusNotFound:
			operation, pause = "", pollPause // another registration has taken its place
		case pause == 0:
			return Assignment{}, err
		}
		pause += mathrand.N(pause/10 + 1) //nolint:gosec // no secret: not in step with others that were told the same
		p.waited += pause
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return Assignment{}, errors.Join(ctx.Err(), err)
		}
	}
}

// ask sends one request: a registration, or a question for its operation. Pause is
// how long to wait before the next; 0 with an error means that there is no use in
// another.
func (p *provisioning) ask(ctx context.Context, operation string) (r provisioningReply, pause time.Duration, err error) {
	one, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body, after, err := p.courier.ask(one, operation)
	after = min(after, maxRetryAfter)
	if err == nil {
		if err = json.Unmarshal(body, &r); err != nil {
			return r, 0, fmt.Errorf("%s: read reply: %w", asking(operation), err)
		}
		p.failed = 0
		return r, cmp.Or(after, pollPause), nil
	}
	if !p.again(err) || ctx.Err() != nil {
		return r, 0, err
	}
	p.o.Options.log().Warn("the provisioning service does not answer; it is asked again", "registration", p.o.RegistrationID, "error", err)
	return r, cmp.Or(after, min(leastProvisionPause<<min(p.failed-1, 10), mostProvisionPause)), err
}

// again reports whether it is of use to try again after an error, and counts it.
func (p *provisioning) again(err error) bool {
	if e, ok := errors.AsType[*causeway.Error](err); ok {
		if s := e.Code.HTTPStatus(); s < 500 && s != http.StatusTooManyRequests && s != http.StatusRequestTimeout {
			return false
		}
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false // the wrong service, or authorities
	}
	p.failed++
	return p.o.Attempts == 0 || p.failed < p.o.Attempts
}

func (r *provisioningReply) over() bool {
	return r.Status != "" && r.Status != "assigning" && r.Status != "unassigned"
}

// unassigned says how an operation has ended without a hub.
func unassigned(status string) string {
	if status == "failed" {
		return "the registration failed"
	}
	return "the registration is " + status
}

// assignment reads how an operation has ended.
func (p *provisioning) assignment(r *provisioningReply) (Assignment, error) {
	s := &r.State
	if r.Status != "assigned" {
		return Assignment{}, causeway.Errorf(cmp.Or(s.Code, causeway.GenericForbidden), "", "%s: %s", unassigned(r.Status), s.Message)
	}
	if s.Hub == "" || s.Device == "" {
		return Assignment{}, errors.New("the service says that the device is assigned, and not where to")
	}
	a := Assignment{
		RegistrationID: p.o.RegistrationID, Hub: s.Hub, DeviceID: s.Device, Substatus: s.Substatus,
		Group: cmp.Or(s.SymmetricKey.Group, s.X509.Group), Payload: s.Payload, ETag: s.ETag, Created: s.Created, Updated: s.Updated,
		Waited: p.waited, Device: DeviceOptions{Options: p.o.Options},
	}
	a.Device.Address = "" // that was of the service
	if p.o.Transport != causeway.HTTPS {
		a.Device.Transport = p.o.Transport
	}
	cs := sas.ConnectionString{HostName: s.Hub, DeviceID: s.Device}
	if len(s.Issued) > 0 && p.o.NewKey != nil {
		if _, err := x509.ParseCertificate(s.Issued[0]); err != nil {
			return Assignment{}, fmt.Errorf("read the certificate that was issued: %w", err)
		}
		a.Certificate = &tls.Certificate{Certificate: s.Issued, PrivateKey: p.o.NewKey}
	}
	if a.Certificate != nil {
		cs.X509, a.Device.Certificate = true, a.Certificate
	} else if p.key != nil {
		cs.SharedAccessKey = string(p.o.Key)
	} else {
		cs.X509, a.Device.Certificate = true, p.o.Certificate
	}
	a.Device.ConnectionString = cs.String()
	return a, nil
}

func leafOf(c *tls.Certificate) (*x509.Certificate, error) {
	if c.Leaf != nil {
		return c.Leaf, nil
	}
	if len(c.Certificate) == 0 {
		return nil, errors.New("provisioning options: Certificate has no certificate")
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("provisioning options: Certificate: %w", err)
	}
	return leaf, nil
}
