package mqtt

import "strconv"

// Reason is a reason code of MQTT 5 (§2.4), or a return code of MQTT 3.1.1 in
// CONNACK and SUBACK.
type Reason byte

// The reason codes of MQTT 5. Success is also the grant of QoS 0 and, in
// DISCONNECT, the normal end.
const (
	Success                 Reason = 0x00
	GrantedQoS1             Reason = 0x01
	GrantedQoS2             Reason = 0x02
	DisconnectWithWill      Reason = 0x04
	NoMatchingSubscribers   Reason = 0x10
	NoSubscriptionExisted   Reason = 0x11
	ContinueAuthentication  Reason = 0x18
	ReAuthenticate          Reason = 0x19
	UnspecifiedError        Reason = 0x80
	MalformedPacket         Reason = 0x81
	ProtocolError           Reason = 0x82
	ImplementationSpecific  Reason = 0x83
	UnsupportedVersion      Reason = 0x84
	ClientIDNotValid        Reason = 0x85
	BadUserNameOrPassword   Reason = 0x86
	NotAuthorized           Reason = 0x87
	ServerUnavailable       Reason = 0x88
	ServerBusy              Reason = 0x89
	Banned                  Reason = 0x8A
	ServerShuttingDown      Reason = 0x8B
	BadAuthenticationMethod Reason = 0x8C
	KeepAliveTimeout        Reason = 0x8D
	SessionTakenOver        Reason = 0x8E
	TopicFilterInvalid      Reason = 0x8F
	TopicNameInvalid        Reason = 0x90
	PacketIDInUse           Reason = 0x91
	PacketIDNotFound        Reason = 0x92
	ReceiveMaximumExceeded  Reason = 0x93
	TopicAliasInvalid       Reason = 0x94
	PacketTooLarge          Reason = 0x95
	MessageRateTooHigh      Reason = 0x96
	QuotaExceeded           Reason = 0x97
	AdministrativeAction    Reason = 0x98
	PayloadFormatInvalid    Reason = 0x99
	RetainNotSupported      Reason = 0x9A
	QoSNotSupported         Reason = 0x9B
	UseAnotherServer        Reason = 0x9C
	ServerMoved             Reason = 0x9D
	SharedNotSupported      Reason = 0x9E
	ConnectionRateExceeded  Reason = 0x9F
	MaximumConnectTime      Reason = 0xA0
	SubscriptionIDs         Reason = 0xA1 // subscription identifiers not supported
	WildcardsNotSupported   Reason = 0xA2
)

// The return codes of CONNACK in MQTT 3.1.1 (§3.2.2.3).
const (
	Accepted            Reason = 0
	RefusedVersion      Reason = 1
	RefusedClientID     Reason = 2
	RefusedUnavailable  Reason = 3
	RefusedUserName     Reason = 4
	RefusedUnauthorized Reason = 5
)

// Failed reports whether r is a failure of MQTT 5, or of SUBACK in 3.1.1.
func (r Reason) Failed() bool { return r >= 0x80 }

// String returns the code in hexadecimal.
func (r Reason) String() string { return "0x" + strconv.FormatUint(uint64(r)|0x100, 16)[1:] }

// reasons lists which codes a packet of MQTT 5 may carry (§2.4 table 2-6).
func reasons(t Type) string {
	switch t {
	case CONNACK:
		return "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f"
	case PUBACK, PUBREC:
		return "\x00\x10\x80\x83\x87\x90\x91\x97\x99"
	case PUBREL, PUBCOMP:
		return "\x00\x92"
	case SUBACK:
		return "\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2"
	case UNSUBACK:
		return "\x00\x11\x80\x83\x87\x8f\x91"
	case DISCONNECT:
		return "\x00\x04\x80\x81\x82\x83\x87\x89\x8b\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2"
	case AUTH:
		return "\x00\x18\x19"
	}
	return ""
}

// allowed reports whether a packet of type t and version v may carry r.
func (r Reason) allowed(t Type, v Version) bool {
	if v == V5 {
		codes := reasons(t)
		for i := range len(codes) {
			if codes[i] == byte(r) {
				return true
			}
		}
		return false
	}
	switch t {
	case CONNACK:
		return r <= RefusedUnauthorized
	case SUBACK:
		return r <= GrantedQoS2 || r == UnspecifiedError
	}
	return r == Success
}
