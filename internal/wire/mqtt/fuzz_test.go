package mqtt_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2/packets"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// seed adds every packet of v and the vectors of another implementation.
func seed(f *testing.F, v mqtt.Version, add func(b []byte)) {
	for _, p := range everyPacket(v) {
		add(mustAppend(f, p, v))
	}
	for _, cases := range mochi.TPacketData {
		for _, c := range cases {
			if len(c.RawBytes) < 4096 {
				add(c.RawBytes)
			}
		}
	}
}

func FuzzReaderV311(f *testing.F) { fuzzReader(f, mqtt.V311) }
func FuzzReaderV5(f *testing.F)   { fuzzReader(f, mqtt.V5) }

// fuzzReader reads packets from arbitrary bytes. Whatever is accepted is
// written again, and reads back as the same packet.
func fuzzReader(f *testing.F, v mqtt.Version) {
	seed(f, v, func(b []byte) { f.Add(b, 7) })
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		r := mqtt.NewReader(&stepReader{b: b, step: step}, v, 64<<10)
		for {
			p, err := r.Packet()
			if err != nil {
				checkError(t, err)
				return
			}
			again := mustAppend(t, p, v)
			if c, ok := p.(*mqtt.Connect); ok && c.Version != v {
				continue // a CONNECT says its version itself
			}
			q, err := mqtt.Decode(split(t, again, v), v)
			if err != nil {
				t.Fatalf("what was written is refused: %v", err)
			}
			if d := cmp.Diff(p, q, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("round trip differs:\n%s", d)
			}
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var e *mqtt.Error
	var ve *mqtt.VersionError
	if !errors.As(err, &e) && !errors.As(err, &ve) && err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Fatalf("unexpected error %v", err)
	}
}

// stepReader reads b in steps.
type stepReader struct {
	b    []byte
	step int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(r.b), max(1, r.step))
	copy(p, r.b[:n])
	r.b = r.b[n:]
	return n, nil
}

// FuzzDifferential compares with another implementation: what we accept, it
// accepts too, and understands the same. (It accepts more than the standards
// do.)
func FuzzDifferential(f *testing.F) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		seed(f, v, func(b []byte) { f.Add(b, v == mqtt.V5) })
	}
	f.Fuzz(func(t *testing.T, b []byte, five bool) {
		v := mqtt.V311
		if five {
			v = mqtt.V5
		}
		fr, n, _, err := mqtt.Split(b, v, 64<<10)
		if err != nil || n == 0 {
			return
		}
		ours, err := mqtt.Decode(fr, v)
		if err != nil {
			return
		}
		theirs, err := mochiDecode(b[:n], v)
		if err != nil {
			if c, ok := ours.(*mqtt.Connect); ok && stricterThere(c) {
				return
			}
			t.Fatalf("we accept %#v, they refuse it: %v", ours, err)
		}
		if d := cmp.Diff(describe(ours), describeMochi(theirs), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("understood differently (-ours +theirs):\n%s", d)
		}
	})
}

func TestDifferential(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for name, p := range everyPacket(v) {
			theirs, err := mochiDecode(mustAppend(t, p, v), v)
			if c, ok := p.(*mqtt.Connect); ok && err != nil && stricterThere(c) {
				continue
			}
			if err != nil {
				t.Errorf("%s %s: refused by the other implementation: %v", v, name, err)
				continue
			}
			if d := cmp.Diff(describe(p), describeMochi(theirs), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("%s %s: understood differently (-ours +theirs):\n%s", v, name, d)
			}
		}
	}
}

// stricterThere are CONNECT packets the standards allow and mochi refuses.
func stricterThere(c *mqtt.Connect) bool {
	return c.HasPassword && c.Password == "" || c.Will != nil && len(c.Will.Payload) == 0 ||
		c.HasUserName && c.UserName == ""
}

func mochiDecode(b []byte, v mqtt.Version) (*mochi.Packet, error) {
	pk := &mochi.Packet{ProtocolVersion: byte(v)}
	if err := pk.FixedHeader.Decode(b[0]); err != nil {
		return nil, err
	}
	r := bytes.NewReader(b[1:])
	n, _, err := mochi.DecodeLength(r)
	if err != nil {
		return nil, err
	}
	pk.FixedHeader.Remaining = n
	body := b[len(b)-r.Len():]
	switch pk.FixedHeader.Type {
	case mochi.Connect:
		if err = pk.ConnectDecode(body); err == nil {
			err = codeError(pk.ConnectValidate())
		}
	case mochi.Connack:
		err = pk.ConnackDecode(body)
	case mochi.Publish:
		if err = pk.PublishDecode(body); err == nil && len(pk.Properties.SubscriptionIdentifier) == 0 {
			err = codeError(pk.PublishValidate(0xFFFF))
		}
	case mochi.Puback:
		err = pk.PubackDecode(body)
	case mochi.Pubrec:
		err = pk.PubrecDecode(body)
	case mochi.Pubrel:
		err = pk.PubrelDecode(body)
	case mochi.Pubcomp:
		err = pk.PubcompDecode(body)
	case mochi.Subscribe:
		if err = pk.SubscribeDecode(body); err == nil {
			err = codeError(pk.SubscribeValidate())
		}
	case mochi.Suback:
		err = pk.SubackDecode(body)
	case mochi.Unsubscribe:
		if err = pk.UnsubscribeDecode(body); err == nil {
			err = codeError(pk.UnsubscribeValidate())
		}
	case mochi.Unsuback:
		err = pk.UnsubackDecode(body)
	case mochi.Disconnect:
		if len(body) == 1 { // mochi overlooks a reason code without properties
			pk.ReasonCode = body[0]
		} else if len(body) > 1 {
			err = pk.DisconnectDecode(body)
		}
	case mochi.Auth:
		if len(body) > 0 {
			err = pk.AuthDecode(body)
		}
	}
	return pk, err
}

func codeError(c mochi.Code) error {
	if c.Code == 0 {
		return nil
	}
	return c
}

// facts is what both implementations say about a packet, in one form.
type facts struct {
	Kind    string
	Flags   string
	ID      uint16
	Texts   []string
	Codes   []byte
	Props   map[string]string
	WillSet map[string]string
}

func describe(p mqtt.Packet) facts {
	f := facts{Kind: p.Type().String()}
	switch p := p.(type) {
	case *mqtt.Connect:
		f.Flags = fmt.Sprint(p.Version, p.CleanStart, p.KeepAlive, p.HasUserName, p.HasPassword, p.Will != nil)
		f.Texts = []string{p.ClientID, p.UserName, p.Password}
		if p.Will != nil {
			f.Flags += fmt.Sprint(p.Will.QoS, p.Will.Retain)
			f.Texts = append(f.Texts, p.Will.Topic, string(p.Will.Payload))
			f.WillSet = props(p.Will.Properties)
		}
		f.Props = props(p.Properties)
	case *mqtt.Connack:
		f.Flags, f.Codes, f.Props = fmt.Sprint(p.SessionPresent), []byte{byte(p.Code)}, props(p.Properties)
	case *mqtt.Publish:
		f.Flags, f.ID, f.Props = fmt.Sprint(p.QoS, p.Dup, p.Retain), p.ID, props(p.Properties)
		f.Texts = []string{p.Topic, string(p.Payload)}
	case *mqtt.Ack:
		f.ID, f.Codes, f.Props = p.ID, []byte{byte(p.Reason)}, props(p.Properties)
	case *mqtt.Subscribe:
		f.ID, f.Props = p.ID, props(p.Properties)
		for _, s := range p.Subscriptions {
			f.Texts = append(f.Texts, fmt.Sprint(s.Filter, s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling))
		}
	case *mqtt.Suback:
		f.ID, f.Props = p.ID, props(p.Properties)
		for _, c := range p.Codes {
			f.Codes = append(f.Codes, byte(c))
		}
	case *mqtt.Unsubscribe:
		f.ID, f.Texts, f.Props = p.ID, p.Filters, props(p.Properties)
	case *mqtt.Unsuback:
		f.ID, f.Props = p.ID, props(p.Properties)
		for _, c := range p.Codes {
			f.Codes = append(f.Codes, byte(c))
		}
	case *mqtt.Disconnect:
		f.Codes, f.Props = []byte{byte(p.Reason)}, props(p.Properties)
	case *mqtt.Auth:
		f.Codes, f.Props = []byte{byte(p.Reason)}, props(p.Properties)
	}
	return f
}

func describeMochi(pk *mochi.Packet) facts {
	f := facts{Kind: mqtt.Type(pk.FixedHeader.Type).String(), Props: mochiProps(&pk.Properties)}
	switch pk.FixedHeader.Type {
	case mochi.Connect:
		c := &pk.Connect
		f.Flags = fmt.Sprint(mqtt.Version(pk.ProtocolVersion), c.Clean, c.Keepalive, c.UsernameFlag, c.PasswordFlag, c.WillFlag)
		f.Texts = []string{c.ClientIdentifier, string(c.Username), string(c.Password)}
		if c.WillFlag {
			f.Flags += fmt.Sprint(c.WillQos, c.WillRetain)
			f.Texts = append(f.Texts, c.WillTopic, string(c.WillPayload))
			f.WillSet = mochiProps(&c.WillProperties)
		}
	case mochi.Connack:
		f.Flags, f.Codes = fmt.Sprint(pk.SessionPresent), []byte{pk.ReasonCode}
	case mochi.Publish:
		f.Flags, f.ID = fmt.Sprint(pk.FixedHeader.Qos, pk.FixedHeader.Dup, pk.FixedHeader.Retain), pk.PacketID
		f.Texts = []string{pk.TopicName, string(pk.Payload)}
	case mochi.Puback, mochi.Pubrec, mochi.Pubrel, mochi.Pubcomp:
		f.ID, f.Codes = pk.PacketID, []byte{pk.ReasonCode}
	case mochi.Subscribe:
		f.ID = pk.PacketID
		for _, s := range pk.Filters {
			f.Texts = append(f.Texts, fmt.Sprint(s.Filter, s.Qos, s.NoLocal, s.RetainAsPublished, s.RetainHandling))
		}
	case mochi.Suback, mochi.Unsuback:
		f.ID, f.Codes = pk.PacketID, pk.ReasonCodes
	case mochi.Unsubscribe:
		f.ID = pk.PacketID
		for _, s := range pk.Filters {
			f.Texts = append(f.Texts, s.Filter)
		}
	case mochi.Disconnect, mochi.Auth:
		f.Codes = []byte{pk.ReasonCode}
	}
	return f
}

// props lists properties by id; those that mochi cannot tell from absent ones
// (zero, empty) are left out.
func props(ps mqtt.Properties) map[string]string {
	m := map[string]string{}
	for _, p := range ps {
		switch {
		case p.ID == mqtt.UserProperty:
			m["user"] += p.Text + "=" + p.Value + ";"
		case p.ID == mqtt.SubscriptionID:
			m["subscription"] += fmt.Sprint(p.Num, ";")
		case p.Text != "":
			m[fmt.Sprintf("%#x", byte(p.ID))] = p.Text
		case p.Num != 0:
			m[fmt.Sprintf("%#x", byte(p.ID))] = fmt.Sprint(p.Num)
		}
	}
	return m
}

func mochiProps(p *mochi.Properties) map[string]string {
	m := map[string]string{}
	num := func(id mqtt.PropertyID, x uint32) {
		if x != 0 {
			m[fmt.Sprintf("%#x", byte(id))] = fmt.Sprint(x)
		}
	}
	text := func(id mqtt.PropertyID, s string) {
		if s != "" {
			m[fmt.Sprintf("%#x", byte(id))] = s
		}
	}
	for _, u := range p.User {
		m["user"] += u.Key + "=" + u.Val + ";"
	}
	for _, n := range p.SubscriptionIdentifier {
		m["subscription"] += fmt.Sprint(n, ";")
	}
	num(mqtt.PayloadFormat, uint32(p.PayloadFormat))
	num(mqtt.MessageExpiry, p.MessageExpiryInterval)
	num(mqtt.SessionExpiry, p.SessionExpiryInterval)
	num(mqtt.ServerKeepAlive, uint32(p.ServerKeepAlive))
	num(mqtt.RequestProblemInfo, uint32(p.RequestProblemInfo))
	num(mqtt.WillDelay, p.WillDelayInterval)
	num(mqtt.RequestResponseInfo, uint32(p.RequestResponseInfo))
	num(mqtt.ReceiveMaximum, uint32(p.ReceiveMaximum))
	num(mqtt.TopicAliasMaximum, uint32(p.TopicAliasMaximum))
	num(mqtt.TopicAlias, uint32(p.TopicAlias))
	num(mqtt.MaximumQoS, uint32(p.MaximumQos))
	num(mqtt.RetainAvailable, uint32(p.RetainAvailable))
	num(mqtt.MaximumPacketSize, p.MaximumPacketSize)
	num(mqtt.WildcardsAvailable, uint32(p.WildcardSubAvailable))
	num(mqtt.SubscriptionIDsAvail, uint32(p.SubIDAvailable))
	num(mqtt.SharedSubsAvailable, uint32(p.SharedSubAvailable))
	text(mqtt.ContentType, p.ContentType)
	text(mqtt.ResponseTopic, p.ResponseTopic)
	text(mqtt.CorrelationData, string(p.CorrelationData))
	text(mqtt.AssignedClientID, p.AssignedClientID)
	text(mqtt.AuthMethod, p.AuthenticationMethod)
	text(mqtt.AuthData, string(p.AuthenticationData))
	text(mqtt.ResponseInfo, p.ResponseInfo)
	text(mqtt.ServerReference, p.ServerReference)
	text(mqtt.ReasonString, p.ReasonString)
	return m
}
