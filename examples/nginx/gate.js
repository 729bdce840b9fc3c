// Asks vramgate before nginx passes a request to the engine; nginx.conf says when. For njs 0.7.9, Debian 12's.

// Longer than any answer takes: the lease of one that outlives it is taken for lost.
const LEASE_TTL = '600s';
const HEADERS = ['Retry-After', 'Retry-After-Ms', 'X-Should-Retry', 'X-Vramgate-Reason'];

function refuse(r, status, message, code, retry) {
    r.headersOut['Content-Type'] = 'application/json';
    r.headersOut['X-Should-Retry'] = retry ? 'true' : 'false';
    if (retry) {
        r.headersOut['Retry-After'] = '1';
    }
    const type = retry ? 'server_overloaded' : 'invalid_request_error';
    r.return(status, JSON.stringify({error: {message: message, type: type, code: code}}));
}

function count(value) {
    return typeof value === 'number' && value >= 1 && value % 1 === 0 ? value : undefined;
}

// What the body asks for: its text is counted by its bytes, which bound its tokens.
function asked(r, body) {
    return {
        model: body.model,
        route: r.uri,
        lease_ttl: LEASE_TTL,
        demand: {
            prompt_bytes: r.requestBuffer.length,
            max_output_tokens: count(body.max_completion_tokens) || count(body.max_tokens),
            sequences: Math.max(count(body.n) || 1, count(body.best_of) || 1),
        },
    };
}

async function admit(r) {
    let body;
    try {
        body = JSON.parse(r.requestText);
    } catch (error) {
        body = null;
    }
    if (body === null || typeof body !== 'object' || typeof body.model !== 'string') {
        return refuse(r, 400, 'body: must be a JSON object with a model', 'invalid_request', false);
    }
    const said = await r.subrequest('/vramgate/admit', {method: 'POST', body: JSON.stringify(asked(r, body))});
    if (said.status == 502 || said.status == 504) {
        return refuse(r, 503, 'vramgate does not answer', 'gate_unreachable', true);
    }
    if (said.status != 200) {
        HEADERS.forEach((name) => {
            if (said.headersOut[name]) {
                r.headersOut[name] = said.headersOut[name];
            }
        });
        r.headersOut['Content-Type'] = 'application/json';
        return r.return(said.status, said.responseText);
    }
    r.variables.vramgate_lease = JSON.parse(said.responseText).lease.name;
    // The first renewal says that the grant has arrived; from here on the lease has its TTL.
    await r.subrequest('/vramgate/renew', {method: 'PUT'});
    r.internalRedirect('@engine');
}

export default {admit};
