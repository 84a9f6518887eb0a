// Package amqp is the AMQP head: it accepts AMQP 1.0 connections, over TLS or
// WebSocket, takes the claims of their clients, and translates between the links
// of devices and modules and a [causeway.Hub].
//
// It knows SASL, claims-based security and IoT Hub's links of devices. Other
// addresses are served by planes ([claims.Plane]), which learn from the
// connection what its client may do. It does not know what lies behind the Hub.
//
// # Who a client is
//
// A connection is for one hub: that of the host in its open, else that of the
// name in the TLS handshake. Its client proves what it may do in one of these
// ways, and may do nothing before:
//
//   - Tokens put on the "$cbs" links: of devices and modules, and of policies.
//     There may be many, each for its audience, and each replaces the one before.
//   - SASL PLAIN with one token, or with the key of a policy. The connection ends
//     when the token expires.
//   - A certificate of the TLS handshake, which counts for the identity in the
//     address of a link.
//
// A token is verified before it is taken. That of a device can only be judged by
// the Hub, which alone knows the device's key: the head opens a session without
// a Device, which takes nobody over, and closes it at once. The session with
// which the identity counts as connected, and which takes over an older one
// elsewhere, is opened by the identity's first link and closed by its last. A
// token for an identity that has links renews its session. A token of a policy
// is verified anew for each link, so that a policy which was deleted lets nobody
// in; the links that it let in before are looked at by [Server.Recheck].
//
// Who has put no token and attached no link for Limits.Unclaimed is disconnected,
// unless its certificate is that of the identity in its name: then it has
// Limits.Unlinked.
//
// # Devices that look for their hub
//
// A connection may be for a registration with a provisioning service instead. SASL
// says so, PLAIN with the user name "{idScope}/registrations/{registrationId}" or
// the mechanism TPM, or else the first link does, and the client's certificate is
// its proof. That of a TPM is tried in the dialogue; the provisioner judges each
// request by itself. Requests are dealt with one after the other in a goroutine of their
// own, and are settled when they are: accepted once the registration is stored.
//
// # Telemetry
//
// Messages are gathered while the engine hands over what has arrived, stored
// with one call of Session.Send for each identity, and then settled:
//
//	Transfer, Transfer, … ──▶ Flush: Send ──▶ accepted
//
// Messages of several identities on one connection are stored side by side.
// When the hub refuses a batch for what is in it, its messages are sent one by
// one, so that only those that are at fault are rejected. A transfer that holds a
// batch of its own is stored and settled as a whole.
//
// What could not be stored for a passing reason is rejected with a condition that
// says so, and not released: some clients take released for success.
//
// # Towards the client
//
// Commands are sent while the client gives credit; without any they stay in
// their queue. Twin requests of one identity are answered one after the other, in
// a goroutine of their own so that telemetry flows on. As their answers wait for
// the client's credit, they must not hold up the reader, which brings it: how
// many requests may wait is said to the client as the credit of the link.
//
// An identity has at most one link of a kind in each direction on a connection,
// but for telemetry. A newer one takes the place of the older, which is detached
// as stolen. The two links of a pair therefore need no correlation to find each
// other.
//
// # Ends
//
// Links end with the conditions of IoT Hub: "amqp:link:stolen" when the identity
// connects elsewhere, "amqp:unauthorized-access" when its token expires. Only
// that identity's links do; the connection and the others stay. The end of a
// connection is logged once, with its reason. Every refusal counts in the metric
// "refused" under one of the Reason constants.
package amqp
