package mqtt

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// ask answers the request to the provisioning service in w.pub. The connection is
// not read meanwhile, so a client has one request under way, and hears the answers
// in the order it asked. It is acknowledged when what it asked for is durable.
// Answers are of QoS 0, as those of twins: who misses one asks again.
//
// Requests of QoS 0 are not answered at once. The Java client sends such ones, and
// only then begins to wait, without looking whether the answer is there already:
// one that is as fast as those of a server nearby it misses, and gives up.
func (c *conn) ask(w *work) error {
	p := &w.pub
	if p.QoS > 1 {
		return ending(ReasonQoS2, nil)
	}
	q, err := dpstopic.ParseRequest(p.Topic)
	if err != nil {
		return endOfTopic(err)
	}
	if err := c.flush(w); err != nil {
		return err
	}
	began := c.v.clock.now()
	c.v.metrics.BytesIn.Add(float64(len(p.Payload)))
	answer := wire.Publish{Topic: p.Topic}
	if c.dps.hears { // else nobody would know what has become of it
		var a dpstopic.Answer
		if a, answer.Payload, err = c.request(q, p.Payload); err != nil {
			return err
		}
		answer.Topic = view(dpstopic.AppendAnswer(nil, a.Status, a.RID, a.RetryAfter))
	}
	if p.QoS > 0 {
		w.out = wire.AppendPuback(w.out, p.ID)
	}
	if answer.Payload != nil {
		if w.out, err = answer.Append(w.out, wire.V311); err != nil {
			return ending(ReasonMalformedTopic, err) // a request id that cannot stand in a topic
		}
		c.v.metrics.MessagesOut.Inc()
		c.v.metrics.BytesOut.Add(float64(len(answer.Payload)))
		if p.QoS == 0 {
			c.linger(answerDelay - time.Duration(c.v.clock.now()-began))
		}
	}
	return c.flush(w)
}

// linger waits for d, or until the server has waited long enough for connections
// to finish.
func (c *conn) linger(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.v.life.Done():
	}
}

// request does what a device asks for, and returns what to answer. The error is
// the end of the connection.
func (c *conn) request(q dpstopic.Request, body []byte) (dpstopic.Answer, []byte, error) {
	began, route := time.Now(), "getOperation"
	var op causeway.Operation
	var err error
	if q.Register {
		route = "register"
		op, err = c.register(body)
	} else {
		op, err = c.v.provisioner.Lookup(c.v.life, c.dps.Registration, q.Operation)
	}
	a := dpstopic.Answer{RID: q.RID}
	var payload []byte
	if err == nil {
		a.Status, a.RetryAfter = dpsjson.Status(&op), op.RetryAfter
		payload, err = dpsjson.Operation(&op)
	}
	if err != nil {
		if c.v.life.Err() != nil {
			return a, nil, ending(ReasonStop, err)
		}
		a.Status, payload = dpsjson.Error(err, "")
		a.RetryAfter = retryAfter(err, a.Status)
		c.noteRefused(route, a.Status, err)
	}
	c.dps.answered(a.Status, c.v.clock.now())
	c.v.metrics.Requests.WithLabelValues(route, strconv.Itoa(a.Status)).Inc()
	c.v.metrics.RequestLatency.WithLabelValues(route).Observe(time.Since(began).Seconds())
	return a, payload, nil
}

// register starts the registration that body asks for.
func (c *conn) register(body []byte) (causeway.Operation, error) {
	in, err := dpsjson.Parse(body, c.dps.Credential.APIVersion)
	if err == nil {
		err = in.Check(c.dps.ID)
	}
	if err != nil {
		return causeway.Operation{}, err
	}
	if len(in.EndorsementKey) > 0 {
		return causeway.Operation{}, causeway.Errorf(causeway.GenericBadRequest, "head/mqtt", "a device with a TPM cannot be challenged over MQTT: register over HTTPS or AMQP")
	}
	r := c.dps.Registration
	r.Payload, r.CSR = in.Payload, in.CSR
	return c.v.provisioner.Register(c.v.life, r)
}

// retryAfter returns when a device that got an error is to ask again, 0 for never.
func retryAfter(err error, status int) time.Duration {
	if status != http.StatusTooManyRequests && status < 500 {
		return 0
	}
	if d := hubhttp.RetryAfter(err); d > 0 {
		return d
	}
	return askAgain
}

// noteRefused counts and logs a request that was refused: faults of ours loudly,
// all else for developers.
func (c *conn) noteRefused(route string, status int, err error) {
	c.v.metrics.Refused.WithLabelValues(string(ReasonRegistration)).Inc()
	level := slog.LevelDebug
	if status >= 500 {
		level = slog.LevelWarn
	}
	c.v.log.Log(c.v.life, level, "mqtt registration refused", obs.KeyRoute, route, obs.KeyStatus, status,
		"registration", c.dps.ID, "scope", c.dps.Scope, obs.KeyRemote, c.dps.Credential.RemoteAddr, obs.KeyError, err)
}
