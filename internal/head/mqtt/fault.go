package mqtt

import (
	"errors"

	"github.com/causeway-iot/causeway/internal/core/fault"
)

var _ fault.Target = (*conn)(nil)

// Break closes the connection because its client has asked for that. MQTT 3.1.1
// knows no other way, in order or not: part of fault.Target.
func (c *conn) Break(k fault.Kind, reason string) {
	c.kill(ReasonFault, errors.New(string(k)+": "+reason))
}
