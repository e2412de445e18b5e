// Runs an ONNX file in ONNX Runtime and compares it with what onnx_values wrote to FOLDER.
//
//     node onnx_run.mjs FILE.onnx FOLDER [--mode default|plain|exact] [--codes LIST]
//                       [--logits TOLERANCE] [--share PER_10000] [--by STEPS] [--predictions N]
//
//   plain   no graph optimisation: QuantizeLinear and DequantizeLinear as floats
//   exact   the default optimisation, with integer products that do not saturate at 16 bits
//
// --codes compares every value that the list names; otherwise the output alone, in steps of its smallest difference.
// Prints what it found; exits with 1 where it is more than the limits.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

const ort = createRequire(new URL('../../bench/package.json', import.meta.url))('onnxruntime-node');
const { values: options, positionals: [file, folder] } = parseArgs({
    allowPositionals: true,
    options: Object.fromEntries(['mode', 'codes', 'logits', 'share', 'by', 'predictions', 'shape']
        .map((name) => [name, { type: 'string' }])),
});
const BATCH = 100;
const floats = (name) => {
    const bytes = readFileSync(`${folder}/${name}.f32`);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
};
const input = floats('input'), output = floats('output');
const session = await ort.InferenceSession.create(file, {
    graphOptimizationLevel: options.mode === 'plain' ? 'disabled' : 'all',
    intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3,
    ...(options.mode === 'exact' && { extra: { session: { x64quantprecision: '1' } } }),
});
const sample = session.inputMetadata[0].shape.slice(1);
const size = sample.reduce((a, b) => a * b, 1), images = input.length / size, classes = output.length / images;

const lists = options.codes
    ? readFileSync(options.codes, 'utf8').trim().split('\n').map((line) => line.split(' '))
        .filter(([name]) => existsSync(`${folder}/${name}.u8`))
        .map(([name, tensor]) => ({ tensor, codes: readFileSync(`${folder}/${name}.u8`) }))
    : [];
const argmax = (x, at) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if (x[at + c] > x[at + best]) best = c;
    return best;
};

const found = { images, logits: 0, predictions: 0, codes: 0, mismatched: 0, by: 0 };
for (let first = 0; first < images; first += BATCH) {
    const count = Math.min(BATCH, images - first);
    const x = new ort.Tensor('float32', input.subarray(first * size, (first + count) * size), [count, ...sample]);
    const results = await session.run({ [session.inputNames[0]]: x });
    const y = results[session.outputNames[0]].data;
    for (let i = 0; i < count * classes; i++)
        found.logits = Math.max(found.logits, Math.abs(y[i] - output[first * classes + i]));
    for (let i = 0; i < count; i++)
        if (argmax(y, i * classes) !== argmax(output, (first + i) * classes)) found.predictions++;
    for (const { tensor, codes } of lists) {
        const made = results[tensor], length = made.data.length / count;
        const lowest = made.type === 'int8' ? -128 : 0;
        for (let i = 0; i < made.data.length; i++) {
            const difference = Math.abs(made.data[i] - lowest - codes[first * length + i]);
            found.codes++;
            if (difference) found.mismatched++;
            if (difference > found.by) found.by = difference;
        }
    }
}
const share = found.codes ? (1e4 * found.mismatched) / found.codes : 0;
console.log(JSON.stringify({ file, mode: options.mode, ...found, per_10000: Number(share.toPrecision(3)) }));
const within = (value, limit) => limit === undefined || value <= Number(limit);
process.exit(within(found.logits, options.logits) && within(share, options.share) && within(found.by, options.by) &&
    within(found.predictions, options.predictions) && images > 0 ? 0 : 1);
