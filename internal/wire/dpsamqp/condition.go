package dpsamqp

import (
	"net/http"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// usualRetry is when to try again what failed for a passing reason that does not
// say when.
const usualRetry = 5 * time.Second

// ConditionOf returns what a refused device is told of err. Its description is the
// JSON of the error, as over HTTPS; for who may try again the info says when, in
// seconds.
func ConditionOf(err error) *codec.Condition {
	c := hubamqp.ConditionOf(err)
	status, body := dpsjson.Error(err, hubamqp.TrackingID(c))
	c.Description = string(body)
	if status != http.StatusTooManyRequests && status < 500 {
		return c
	}
	if status != http.StatusTooManyRequests {
		// Whatever the name, these pass, and clients try again after this one only.
		c.Name = hubamqp.InternalError
	}
	after := hubhttp.RetryAfter(err)
	if after <= 0 {
		after = usualRetry
	}
	var b codec.MapBuilder
	for k, v := range c.Info.All() {
		b.Add(k, v)
	}
	for _, key := range [...]string{keyRetryAfter, keyRetryAfterNET} {
		b.Add(codec.Symbol(key), codec.Int(seconds(int((after+time.Second-1)/time.Second))))
	}
	c.Info = b.Map()
	return c
}

// RetryAfter returns what a condition says about trying again, 0 for nothing.
func RetryAfter(c *codec.Condition) time.Duration {
	v, _ := c.Info.Lookup(keyRetryAfter)
	n, _ := v.Int64()
	return time.Duration(max(0, min(n, mostSeconds))) * time.Second
}
