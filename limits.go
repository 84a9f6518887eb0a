package causeway

import "time"

// Limits of the IoT Hub protocol. Sources: the public IoT Hub quotas and limits
// documentation, restated in docs/compat/hub.md.
const (
	MaxIDLength = 128 // device and module ids, characters

	MaxMessageSize   = 256 << 10 // device to cloud, see Message.Size
	MaxCommandSize   = 64 << 10  // cloud to device body and properties
	MaxMethodPayload = 128 << 10 // each way
	MaxMethodName    = 100
	MaxMessageID     = 128

	MaxTwinKey     = 1024     // bytes of UTF-8
	MaxTwinString  = 4 << 10  // bytes of UTF-8
	MaxTwinDepth   = 10       // levels of nesting below a section
	MaxTwinTags    = 8 << 10  // computed size, see twin.Size
	MaxTwinSection = 32 << 10 // desired or reported
	MinTwinInteger = -4503599627370496
	MaxTwinInteger = 4503599627370495

	MaxModulesPerDevice = 50
	MaxStatusReason     = 128
	MinKeyBytes         = 16
	MaxKeyBytes         = 64
	MaxPageSize         = 1000

	MaxQueuedCommands   = 50 // per device or module
	MaxDeliveryCount    = 10
	CommandLock         = time.Minute
	DefaultCommandTTL   = time.Hour
	MaxCommandTTL       = 48 * time.Hour
	MinMethodTimeout    = 5 * time.Second
	MaxMethodTimeout    = 300 * time.Second
	DefaultMethodWait   = 30 * time.Second
	MaxInflightMethods  = 64 // per device
	TokenSkew           = 5 * time.Minute
	ConnectDeadline     = 60 * time.Second   // TLS handshake and first packet
	MaxKeepAlive        = 1177 * time.Second // larger client values count as this
	KeepAliveGrace      = 1.5                // times the client's value
	MaxSubscriptions    = 50                 // filters per MQTT connection
	MaxRequestBody      = 1 << 20            // REST bodies unless a route says otherwise
	DefaultPartitions   = 4
	MaxPartitions       = 32
	DefaultRetention    = 24 * time.Hour
	MaxDeliveryInFlight = 10 // unacknowledged commands on one connection
)
