package mqtt

import (
	"errors"
	"io"
	"net"

	"github.com/causeway-iot/causeway"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// Reason is why a connection ended or a request was refused. It is the label of
// the metric and the attribute in the log.
type Reason string

// Ends that are nobody's fault.
const (
	ReasonDisconnect Reason = "disconnect"   // the client said good-bye
	ReasonLost       Reason = "lost"         // the network connection ended
	ReasonHangup     Reason = "hangup"       // the hub ended the session
	ReasonStop       Reason = "server_stop"  // the server stops
	ReasonFault      Reason = "fault"        // the client asked for it
	ReasonKeepAlive  Reason = "keep_alive"   // silent for 1.5 times its keep-alive
	ReasonSlow       Reason = "slow_client"  // does not read what it is sent
	ReasonHubFailed  Reason = "hub_failed"   // the hub or the session store failed
	ReasonThrottled  Reason = "throttled"    // above its rate
	ReasonQuota      Reason = "quota"        // above its quota
	ReasonRejected   Reason = "hub_rejected" // the hub does not take the message

	ReasonProvisioningIdle Reason = "provisioning_idle" // has not asked for anything for a while
)

// Refusals before a connection is open.
const (
	ReasonConnections     Reason = "connection_limit"
	ReasonHandshake       Reason = "tls_handshake"
	ReasonConnectTimeout  Reason = "connect_timeout"
	ReasonNoConnect       Reason = "connect_missing"
	ReasonProtocolVersion Reason = "protocol_version"
	ReasonClientID        Reason = "client_id"
	ReasonUserName        Reason = "user_name"
	ReasonWill            Reason = "will"
	ReasonUnauthorized    Reason = "unauthorized"
	ReasonBusy            Reason = "server_busy"
	ReasonProvisioning    Reason = "provisioning_limit"
)

// Violations that end an open connection.
const (
	ReasonMalformed      Reason = "malformed_packet"
	ReasonTooLarge       Reason = "packet_too_large"
	ReasonSecondConnect  Reason = "second_connect"
	ReasonUnexpected     Reason = "unexpected_packet"
	ReasonQoS2           Reason = "qos_2"
	ReasonUnknownTopic   Reason = "unknown_topic"
	ReasonForeignTopic   Reason = "foreign_topic"
	ReasonMalformedTopic Reason = "malformed_topic"
)

// Refusals that leave the connection open.
const (
	ReasonUnknownFilter Reason = "unknown_filter"
	ReasonForeignFilter Reason = "foreign_filter"
	ReasonFilters       Reason = "too_many_filters"
	ReasonRegistration  Reason = "registration_refused"
)

// end is why a connection ends.
type end struct {
	reason Reason
	err    error // detail, may be nil
}

// Error returns the reason and its detail.
func (e *end) Error() string {
	if e.err == nil {
		return string(e.reason)
	}
	return string(e.reason) + ": " + e.err.Error()
}

// Unwrap returns the detail.
func (e *end) Unwrap() error { return e.err }

func ending(r Reason, err error) *end { return &end{reason: r, err: err} }

// refusal reports whether an end with this reason is one the client caused and
// the metric of refusals counts.
func (r Reason) refusal() bool {
	switch r {
	case ReasonDisconnect, ReasonLost, ReasonHangup, ReasonStop, ReasonFault, ReasonHubFailed:
		return false
	}
	return true
}

// orderly reports whether an end with this reason is none of a will's.
func (r Reason) orderly() bool { return r == ReasonDisconnect || r == ReasonStop }

// endOf returns the end that an error of reading or decoding means.
func endOf(err error) *end {
	if e, ok := errors.AsType[*end](err); ok {
		return e
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		if e.Reason == wire.PacketTooLarge {
			return ending(ReasonTooLarge, e)
		}
		return ending(ReasonMalformed, e)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return ending(ReasonLost, nil)
	}
	return ending(ReasonLost, err)
}

// endOfTopic returns the end that a topic of a PUBLISH means.
func endOfTopic(err error) *end {
	switch {
	case errors.Is(err, topic.ErrForeign):
		return ending(ReasonForeignTopic, err)
	case errors.Is(err, topic.ErrMalformed):
		return ending(ReasonMalformedTopic, err)
	}
	return ending(ReasonUnknownTopic, err)
}

// endOfHub returns the end that an error of Session.Send means: MQTT 3.1.1 has
// no way to refuse a message but this.
func endOfHub(err error) *end {
	switch code := causeway.CodeOf(err); code {
	case causeway.ConnectionForcefullyClosedOnNewConnection, causeway.IotHubUnauthorized,
		causeway.DeviceNotFound, causeway.ModuleNotFound: // it was deleted
		return ending(ReasonHangup, err)
	case causeway.IotHubQuotaExceeded:
		return ending(ReasonQuota, err)
	default:
		switch code.HTTPStatus() {
		case 429:
			return ending(ReasonThrottled, err)
		case 400, 413:
			return ending(ReasonRejected, err)
		}
	}
	return ending(ReasonHubFailed, err)
}

// refusalOf returns the CONNACK return code, and the reason, for an error of
// Hub.Connect. Unknown identities and wrong proofs are not told apart; what may
// pass if the client tries again later is told so.
func refusalOf(err error) (wire.Reason, Reason) {
	switch causeway.CodeOf(err).HTTPStatus() {
	case 429, 500, 502, 503, 504:
		return wire.RefusedUnavailable, ReasonBusy
	}
	return wire.RefusedUnauthorized, ReasonUnauthorized
}
