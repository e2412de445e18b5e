// Runs an ONNX file in ONNX Runtime and compares it with what onnx_values wrote to FOLDER.
//
//     node onnx_run.mjs FILE.onnx FOLDER [--mode plain|exact] [--logits TOLERANCE] [--predictions N]
//     node onnx_run.mjs FOLDER/cut.onnx FOLDER [--mode plain|exact] --share PER_10000
//
//   plain   no graph optimisation: QuantizeLinear and DequantizeLinear as floats
//   exact   the default optimisation, with integer products that do not saturate at 16 bits
//
// The first compares results. The second, on a graph cut by onnx_check.py, compares the codes of every value, each
// computed from the program's own codes; none may differ by more than 1. Prints what it found; exits with 1 where it
// is more than the limits.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

const ort = createRequire(new URL('../../bench/package.json', import.meta.url))('onnxruntime-node');
const { values: options, positionals: [file, folder] } = parseArgs({
    allowPositionals: true,
    options: Object.fromEntries(['mode', 'logits', 'share', 'predictions']
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

const arrays = { uint8: Uint8Array, int8: Int8Array };
const read = (line) => {
    const [name, output, given, type, shape] = line.split(' ');
    const sizes = shape.split(',').map(Number), codes = readFileSync(`${folder}/${name}.u8`);
    const lowest = type === 'int8' ? -128 : 0;
    return { output, given, type, sizes, length: sizes.reduce((a, b) => a * b, 1), codes: arrays[type].from(codes, (u) => u + lowest) };
};
const cuts = options.share === undefined ? []
    : readFileSync(`${folder}/cut.txt`, 'utf8').trim().split('\n').map(read);
const argmax = (x, at) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if (x[at + c] > x[at + best]) best = c;
    return best;
};

const found = { images, logits: 0, predictions: 0, codes: 0, differ: 0, by: 0 };
function compareResults(y, first, count) {
    for (let i = 0; i < count * classes; i++)
        found.logits = Math.max(found.logits, Math.abs(y[i] - output[first * classes + i]));
    for (let i = 0; i < count; i++)
        if (argmax(y, i * classes) !== argmax(output, (first + i) * classes)) found.predictions++;
}
function compareCodes({ codes, length }, made, first) {
    for (let i = 0; i < made.length; i++) {
        const difference = Math.abs(made[i] - codes[first * length + i]);
        if (difference) found.differ++;
        if (difference > found.by) found.by = difference;
    }
    found.codes += made.length;
}
for (let first = 0; first < images; first += BATCH) {
    const count = Math.min(BATCH, images - first), end = first + count;
    const feeds = {
        [session.inputNames[0]]: new ort.Tensor('float32', input.subarray(first * size, end * size), [count, ...sample]),
    };
    for (const { given, type, sizes, length, codes } of cuts)
        feeds[given] = new ort.Tensor(type, codes.subarray(first * length, end * length), [count, ...sizes]);
    const results = await session.run(feeds);
    compareResults(results[session.outputNames[0]].data, first, count);
    for (const cut of cuts) compareCodes(cut, results[cut.output].data, first);
}
const share = found.codes ? (1e4 * found.differ) / found.codes : 0;
console.log(JSON.stringify({ file, mode: options.mode, ...found, per_10000: Number(share.toPrecision(3)) }));
const within = (value, limit) => limit === undefined || value <= Number(limit);
process.exit(images > 0 && found.by <= 1 && within(found.logits, options.logits) && within(share, options.share) &&
    within(found.predictions, options.predictions) && found.codes > 0 === cuts.length > 0 ? 0 : 1);
