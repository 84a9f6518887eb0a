package hubamqp

import (
	"strings"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// LinkProperties are the properties of an attach that mean something to a hub.
type LinkProperties struct {
	ClientVersion string // user agent
	APIVersion    string
	// ChannelCorrelationID is what the two links of twins, or of methods, have in
	// common: "twin:" or "methods:" and an id. A hub knows the two without it.
	ChannelCorrelationID string
	ModelID              string
	AuthChain            string                // nested edge: ids separated by ';'
	Epoch                codec.Optional[int64] // exclusive reader of events
	ReceiverName         string
}

// The names of link properties.
const (
	linkClientVersion = "com.microsoft:client-version"
	linkAPIVersion    = "com.microsoft:api-version"
	linkCorrelation   = "com.microsoft:channel-correlation-id"
	linkModelID       = "com.microsoft:model-id"
	linkAuthChain     = "com.microsoft:auth-chain"
	linkEpoch         = "com.microsoft:epoch"
	linkReceiverName  = "com.microsoft:receiver-name"
)

// ParseLinkProperties reads the properties of an attach. What is not known, is of
// another type, or is longer than a text may be is ignored. The result shares no
// memory with m.
func ParseLinkProperties(m codec.Map) LinkProperties {
	var p LinkProperties
	for key, v := range m.All() {
		name, _ := key.Text()
		if name == linkEpoch {
			if n, ok := v.Int64(); ok {
				p.Epoch = codec.Some(n)
			}
			continue
		}
		text, ok := v.Text()
		if to := p.text(name); ok && to != nil && len(text) <= maxLinkText {
			*to = strings.Clone(text)
		}
	}
	return p
}

// text returns the field for the text of the given name, or nil.
func (p *LinkProperties) text(name string) *string {
	switch name {
	case linkClientVersion:
		return &p.ClientVersion
	case linkAPIVersion:
		return &p.APIVersion
	case linkCorrelation:
		return &p.ChannelCorrelationID
	case linkModelID:
		return &p.ModelID
	case linkAuthChain:
		return &p.AuthChain
	case linkReceiverName:
		return &p.ReceiverName
	}
	return nil
}

// Map returns the properties for an attach.
func (p *LinkProperties) Map() codec.Map {
	var b codec.MapBuilder
	for _, name := range [...]string{linkClientVersion, linkAPIVersion, linkCorrelation, linkModelID, linkAuthChain} {
		if text := *p.text(name); text != "" {
			b.Add(codec.Symbol(name), codec.String(text))
		}
	}
	if p.Epoch.OK {
		b.Add(codec.Symbol(linkEpoch), codec.Long(p.Epoch.V))
	}
	if p.ReceiverName != "" {
		b.Add(codec.Symbol(linkReceiverName), codec.String(p.ReceiverName))
	}
	return b.Map()
}

// Capabilities that readers of events ask for.
const (
	CapabilityRuntimeMetric = "com.microsoft:enable-receiver-runtime-metric" // see Runtime
	CapabilityReplication   = "com.microsoft:georeplication"
)

// WantsRuntime reports whether a reader wants to be told, with every event, what
// the last one of its partition is.
func WantsRuntime(desired codec.Symbols) bool { return desired.Has(CapabilityRuntimeMetric) }
